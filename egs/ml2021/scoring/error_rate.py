"""Mixed error rate (MER) of code-switched text: a Chinese character is a token, an English word is a token.

MER = (insertions + deletions + substitutions) / reference tokens, over a minimum edit alignment. Its zh part counts the
errors at Chinese reference tokens and the Chinese insertions, over the Chinese reference tokens; the en part likewise.
A reference token is at a switch where its neighbour in the utterance is of the other language; an insertion is where it
stands between two such.

    python -m ml2021.scoring.error_rate REF HYP [--hyp2 HYP2 ...]     (plain text, recogs files, CTM)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import kaldialign

from lhotse_prep.errors import DataError
from lhotse_prep.normalize import is_han
from lhotse_prep.stages import run_main, write_text

EPSILON = ""  # one side of an insertion or deletion in an alignment; no token is empty
Alignment = list[tuple[str, str]]  # (reference token, hypothesis token), EPSILON where there is none
_WINDOW_NUMBER = re.compile(r"-\d+[a-z]*$")  # what the id of an utterance has more than that of its lecture


@dataclass
class Counts:
    """Errors over reference tokens."""

    num_ref: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        """All errors."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def percent(self) -> float | None:
        """Errors in percent of reference tokens; None where there is no reference token."""
        return round(100 * self.errors / self.num_ref, 3) if self.num_ref else None

    def add(self, ref: str, hyp: str) -> None:
        """Count a pair of an alignment."""
        self.num_ref += ref != EPSILON
        self.insertions += ref == EPSILON
        self.deletions += hyp == EPSILON
        self.substitutions += EPSILON not in (ref, hyp) and ref != hyp

    def __str__(self) -> str:
        rate = "no reference tokens" if self.percent is None else f"{self.percent:.2f}%"
        return (
            f"{rate} ({self.errors} / {self.num_ref}: {self.insertions} ins, "
            f"{self.deletions} del, {self.substitutions} sub)"
        )


@dataclass
class ErrorRate:
    """The score of a set of utterances."""

    total: Counts = field(default_factory=Counts)
    zh: Counts = field(default_factory=Counts)
    en: Counts = field(default_factory=Counts)
    switches: Counts = field(default_factory=Counts)  # at the tokens beside a change of language
    alignments: dict[str, Alignment] = field(default_factory=dict)  # by utterance id

    def percents(self) -> dict[str, float | None]:
        """{"mer", "zh", "en"} in percent; None where the reference has no token of the kind."""
        return {"mer": self.total.percent, "zh": self.zh.percent, "en": self.en.percent}


def mer_tokens(text: str) -> list[str]:
    """Lower-case tokens of text: each Han character alone, everything else as it is between spaces and Han."""
    tokens: list[str] = []
    for word in text.lower().split():
        for han, group in groupby(word, key=is_han):
            characters = list(group)
            tokens += characters if han else ["".join(characters)]
    return tokens


def score(pairs: Iterable[tuple[str, str, str]]) -> ErrorRate:
    """Score hypotheses against references.

    Args:
      pairs: (utterance id, reference text, hypothesis text); either text may be empty.
    Raises:
      DataError: an id occurs twice.
    """
    alignments: dict[str, Alignment] = {}
    for utterance_id, ref, hyp in pairs:
        if utterance_id in alignments:
            raise DataError(f"utterance {utterance_id} is there twice: ids must be unique to be scored")
        alignments[utterance_id] = kaldialign.align(mer_tokens(ref), mer_tokens(hyp), EPSILON)
    return count_errors(alignments)


def count_errors(alignments: Mapping[str, Alignment]) -> ErrorRate:
    """The score of utterances that are aligned."""
    result = ErrorRate(alignments=dict(alignments))
    for alignment in alignments.values():
        for pair, at_switch in zip(alignment, at_switches(alignment)):
            counts = [result.total, result.zh if is_han((pair[0] or pair[1])[0]) else result.en]
            for c in [*counts, result.switches] if at_switch else counts:
                c.add(*pair)
    return result


def by_utterance(result: ErrorRate) -> list[ErrorRate]:
    """The score of each utterance by itself."""
    return [count_errors({i: alignment}) for i, alignment in result.alignments.items()]


def by_lecture(result: ErrorRate) -> dict[str, ErrorRate]:
    """The score of each lecture, by its id: that of an utterance (`week10_1-0003`) without its number."""
    groups: dict[str, dict[str, Alignment]] = {}
    for utterance_id, alignment in result.alignments.items():
        groups.setdefault(lecture_of(utterance_id), {})[utterance_id] = alignment
    return {lecture: count_errors(alignments) for lecture, alignments in sorted(groups.items())}


def lecture_of(utterance_id: str) -> str:
    """`week10_1-0003` -> `week10_1`; an id without a number is a lecture's own."""
    return _WINDOW_NUMBER.sub("", utterance_id)


def at_switches(alignment: Alignment) -> list[bool]:
    """Whether each pair touches a change of language in the reference."""
    languages = [is_han(ref[0]) for ref, _ in alignment if ref]
    flags, i = [], 0  # i: reference tokens before the pair
    for ref, _ in alignment:
        here = languages[max(0, i - 1) : i + (2 if ref else 1)]
        flags.append(len(set(here)) == 2)
        i += ref != EPSILON
    return flags


def write_recogs(path: Path, result: ErrorRate) -> None:
    """Write `id:<tab>ref=[...]` and `id:<tab>hyp=[...]` lines, sorted by id."""
    lines = []
    for utterance_id, alignment in sorted(result.alignments.items()):
        for side, name in enumerate(("ref", "hyp")):
            lines.append(f"{utterance_id}:\t{name}={[pair[side] for pair in alignment if pair[side]]}\n")
    write_text(path, "".join(lines))


def write_errs(path: Path, result: ErrorRate) -> None:
    """Write the totals, each utterance's alignment, the errors by count, and a table of tokens."""
    total = result.total
    correct = total.num_ref - total.substitutions - total.deletions
    lines = [
        "%WER = " + ("n/a" if total.percent is None else f"{total.percent:.2f}"),
        f"Errors: {total.insertions} insertions, {total.deletions} deletions, {total.substitutions} substitutions, "
        f"over {total.num_ref} reference words ({correct} correct)",
        f"Chinese characters: {result.zh}",
        f"English words: {result.en}",
        "",
        "PER-UTT DETAILS: corr or (ref->hyp)",
    ]
    lines += [f"{i}:\t{_show_alignment(alignment)}" for i, alignment in sorted(result.alignments.items())]
    pairs = Counter(pair for alignment in result.alignments.values() for pair in alignment)
    substitutions = {p: n for p, n in pairs.items() if EPSILON not in p and p[0] != p[1]}
    lines += ["", "SUBSTITUTIONS: count ref -> hyp"]
    lines += [f"{n}   {ref} -> {hyp}" for (ref, hyp), n in _by_count(substitutions)]
    lines += ["", "DELETIONS: count ref"]
    lines += [f"{n}   {ref}" for (ref, hyp), n in _by_count(pairs) if hyp == EPSILON]
    lines += ["", "INSERTIONS: count hyp"]
    lines += [f"{n}   {hyp}" for (ref, hyp), n in _by_count(pairs) if ref == EPSILON]
    lines += ["", "PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp"]
    lines += _word_table(pairs)
    write_text(path, "\n".join(lines) + "\n")


def write_wer_summary(path: Path, results: Mapping[str, ErrorRate]) -> None:
    """Write `settings<tab>WER` and a line for each setting, best first."""
    rates = sorted((r.total.percent is None, r.total.percent, setting) for setting, r in results.items())
    rows = [f"{setting}\t{'n/a' if rate is None else f'{rate:.2f}'}\n" for _, rate, setting in rates]
    write_text(path, "settings\tWER\n" + "".join(rows))


def write_icefall_files(
    out_dir: Path, set_name: str, suffix: str, setting: str, pairs: Iterable[tuple[str, str, str]]
) -> ErrorRate:
    """Score, write recogs-, errs- and wer-summary-SET-SUFFIX.txt as icefall does, and mer-SET-SUFFIX.txt beside them.

    The figures of icefall's files are of the texts as they are; mer- has those by both normalisers, with intervals.

    Args:
      out_dir: where the files go.
      set_name: for example test.
      suffix: tells one decoding from another, for example epoch-30-avg-5-greedy_search.
      setting: the name of the decoding in the summary, for example greedy_search.
      pairs: as for score().
    """
    from ml2021.scoring.compare import report  # which imports this module

    rows = list(pairs)
    result = score(rows)
    systems = {setting: {i: hyp for i, _, hyp in rows}}
    write_text(out_dir / f"mer-{set_name}-{suffix}.txt", report({i: ref for i, ref, _ in rows}, systems))
    write_recogs(out_dir / f"recogs-{set_name}-{suffix}.txt", result)
    write_errs(out_dir / f"errs-{set_name}-{suffix}.txt", result)
    write_wer_summary(out_dir / f"wer-summary-{set_name}-{suffix}.txt", {setting: result})
    return result


def _show_alignment(alignment: Alignment) -> str:
    """Correct tokens as they are, runs of errors as (ref->hyp) with * for nothing."""
    shown = []
    for correct, group in groupby(alignment, key=lambda pair: pair[0] == pair[1]):
        pairs = list(group)
        if correct:
            shown += [ref for ref, _ in pairs]
        else:
            ref, hyp = (" ".join(pair[side] for pair in pairs if pair[side]) or "*" for side in (0, 1))
            shown.append(f"({ref}->{hyp})")
    return " ".join(shown)


def _by_count(pairs: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(pairs.items(), key=lambda item: (-item[1], item[0]))


def _word_table(pairs: Mapping[tuple[str, str], int]) -> list[str]:
    """Lines of `token correct errors in-ref in-hyp`, most errors first."""
    correct: Counter[str] = Counter()
    in_ref: Counter[str] = Counter()
    in_hyp: Counter[str] = Counter()
    for (ref, hyp), n in pairs.items():
        in_ref[ref] += n
        in_hyp[hyp] += n
        correct[ref] += n * (ref == hyp)
    tokens = (in_ref | in_hyp).keys() - {EPSILON}
    rows = [(t, correct[t], in_ref[t] + in_hyp[t] - 2 * correct[t], in_ref[t], in_hyp[t]) for t in tokens]
    return ["   ".join(map(str, row)) for row in sorted(rows, key=lambda row: (-row[2], row[0]))]


if __name__ == "__main__":
    from ml2021.scoring.compare import main

    run_main(main)
