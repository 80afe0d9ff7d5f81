"""Mixed error rate (MER) of code-switched text: a Chinese character is a token, an English word is a token.

MER = (insertions + deletions + substitutions) / reference tokens, over a minimum edit alignment. Its zh part counts the
errors at Chinese reference tokens and the Chinese insertions, over the Chinese reference tokens; the en part likewise.

    python -m ml2021.scoring.error_rate REF HYP     (text files of `id text` lines, or recogs files)
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import kaldialign

from lhotse_prep.errors import DataError
from lhotse_prep.normalize import is_han
from lhotse_prep.stages import run_main, write_text

EPSILON = ""  # one side of an insertion or deletion in an alignment; no token is empty
Alignment = list[tuple[str, str]]  # (reference token, hypothesis token), EPSILON where there is none
_RECOGS_LINE = re.compile(r"(?P<id>.+):\t(?P<side>ref|hyp)=(?P<tokens>\[.*\])")


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
    result = ErrorRate()
    for utterance_id, ref, hyp in pairs:
        if utterance_id in result.alignments:
            raise DataError(f"utterance {utterance_id} is there twice: ids must be unique to be scored")
        alignment = kaldialign.align(mer_tokens(ref), mer_tokens(hyp), EPSILON)
        result.alignments[utterance_id] = alignment
        for pair in alignment:
            language = result.zh if is_han((pair[0] or pair[1])[0]) else result.en
            for counts in (result.total, language):
                _count(counts, *pair)
    return result


def _count(counts: Counts, ref: str, hyp: str) -> None:
    counts.num_ref += ref != EPSILON
    counts.insertions += ref == EPSILON
    counts.deletions += hyp == EPSILON
    counts.substitutions += EPSILON not in (ref, hyp) and ref != hyp


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
    """Score, and write recogs-, errs- and wer-summary-SET-SUFFIX.txt as icefall does.

    Args:
      out_dir: where the three files go.
      set_name: for example test.
      suffix: tells one decoding from another, for example epoch-30-avg-5-greedy_search.
      setting: the name of the decoding in the summary, for example greedy_search.
      pairs: as for score().
    """
    result = score(pairs)
    write_recogs(out_dir / f"recogs-{set_name}-{suffix}.txt", result)
    write_errs(out_dir / f"errs-{set_name}-{suffix}.txt", result)
    write_wer_summary(out_dir / f"wer-summary-{set_name}-{suffix}.txt", {setting: result})
    return result


def read_texts(path: Path, side: str) -> dict[str, str]:
    """Read {id: text} from a text file of `id text` lines, or one side ("ref" or "hyp") of a recogs file.

    Raises:
      DataError: no such file, an id twice, or a damaged line.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    texts: dict[str, str] = {}
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    is_recogs = bool(lines) and _RECOGS_LINE.fullmatch(lines[0]) is not None
    for line in lines:
        if is_recogs:
            utterance_id, line_side, text = _parse_recogs_line(path, line)
            if line_side != side:
                continue
        else:
            utterance_id, text = (line.split(maxsplit=1) + [""])[:2]
        if utterance_id in texts:
            raise DataError(f"{path}: utterance {utterance_id} is there twice; keep one of them")
        texts[utterance_id] = text
    return texts


def _parse_recogs_line(path: Path, line: str) -> tuple[str, str, str]:
    match = _RECOGS_LINE.fullmatch(line)
    try:
        tokens = ast.literal_eval(match["tokens"]) if match else None
    except (SyntaxError, ValueError):
        tokens = None
    if match is None or tokens is None:
        raise DataError(f"{path}: not a line of a recogs file: {line[:80]!r}")
    return match["id"], match["side"], " ".join(tokens)


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


def main(argv: Sequence[str]) -> None:
    """Print MER with its zh and en parts of a hypothesis file against a reference file."""
    parser = argparse.ArgumentParser(prog="python -m ml2021.scoring.error_rate", description=main.__doc__)
    parser.add_argument("ref", type=Path, help="text file of `id text` lines, or a recogs file (its ref lines)")
    parser.add_argument("hyp", type=Path, help="the same with hypotheses (the hyp lines of a recogs file)")
    args = parser.parse_args(argv)
    refs, hyps = read_texts(args.ref, "ref"), read_texts(args.hyp, "hyp")
    unmatched = sorted(refs.keys() ^ hyps.keys())
    if unmatched:
        raise DataError(
            f"{len(unmatched)} ids are in one of {args.ref} and {args.hyp} only, such as {', '.join(unmatched[:5])}; "
            "both must hold the same utterances (an empty hypothesis is a line with the id alone)"
        )
    result = score((i, ref, hyps[i]) for i, ref in refs.items())
    sys.stdout.write(f"MER {result.total}\n zh {result.zh}\n en {result.en}\n")


if __name__ == "__main__":
    run_main(main)
