"""Result files of a decoding: icefall's recogs-, errs- and wer-summary- files, and our mer- file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, groupby
from pathlib import Path

from lhotse_prep.workflow.files import whole_file, write_text
from ml2021.scoring.align import EPSILON, Alignment
from ml2021.scoring.counts import ErrorRate, require_unique, score
from ml2021.scoring.error_rate import report


def write_recogs(path: Path, result: ErrorRate) -> None:
    """Write `id:<tab>ref=[...]` and `id:<tab>hyp=[...]` lines, sorted by id."""
    with whole_file(path) as f:
        for utterance_id, alignment in _sorted(result):
            for side, name in enumerate(("ref", "hyp")):
                f.write(f"{utterance_id}:\t{name}={[pair[side] for pair in alignment if pair[side]]}\n")


def write_errs(path: Path, result: ErrorRate) -> None:
    """Write the totals, the alignment of each utterance, errors by frequency, and a table of tokens."""
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
    pairs = Counter(pair for alignment in result.alignments.values() for pair in alignment)
    substitutions = {p: n for p, n in pairs.items() if EPSILON not in p and p[0] != p[1]}
    tables = ["", "SUBSTITUTIONS: count ref -> hyp"]
    tables += [f"{n}   {ref} -> {hyp}" for (ref, hyp), n in _by_count(substitutions)]
    tables += ["", "DELETIONS: count ref"]
    tables += [f"{n}   {ref}" for (ref, hyp), n in _by_count(pairs) if hyp == EPSILON]
    tables += ["", "INSERTIONS: count hyp"]
    tables += [f"{n}   {hyp}" for (ref, hyp), n in _by_count(pairs) if ref == EPSILON]
    tables += ["", "PER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp"]
    tables += _word_table(pairs)
    details = (f"{i}:\t{_show_alignment(alignment)}" for i, alignment in _sorted(result))
    with whole_file(path) as f:
        f.writelines(f"{line}\n" for line in chain(lines, details, tables))


def write_wer_summary(path: Path, results: Mapping[str, ErrorRate]) -> None:
    """Write the header `settings<tab>WER` and a line per setting, best first."""
    rates = sorted((r.total.percent is None, r.total.percent, setting) for setting, r in results.items())
    rows = [f"{setting}\t{'n/a' if rate is None else f'{rate:.2f}'}\n" for _, rate, setting in rates]
    write_text(path, "settings\tWER\n" + "".join(rows))


def write_icefall_files(
    out_dir: Path, set_name: str, suffix: str, setting: str, pairs: Iterable[tuple[str, str, str]]
) -> ErrorRate:
    """Score hypotheses; write recogs-, errs- and wer-summary-SET-SUFFIX.txt like icefall, and mer-SET-SUFFIX.txt.

    icefall's files are computed from the texts as given; mer- has the report of ml2021.scoring.error_rate, which
    normalises them.

    Args:
      out_dir: the folder for the files.
      set_name: such as test.
      suffix: identifies the decoding, such as epoch-30-avg-5-greedy_search.
      setting: the name of the decoding in the summary, such as greedy_search.
      pairs: see score().
    Returns:
      The score of the texts as given.
    """

    rows = list(pairs)
    require_unique(i for i, _, _ in rows)
    systems = {setting: {i: hyp for i, _, hyp in rows}}
    write_text(out_dir / f"mer-{set_name}-{suffix}.txt", report({i: ref for i, ref, _ in rows}, systems))
    result = score(rows)  # after the report, whose alignments need not be kept beside these
    write_recogs(out_dir / f"recogs-{set_name}-{suffix}.txt", result)
    write_errs(out_dir / f"errs-{set_name}-{suffix}.txt", result)
    write_wer_summary(out_dir / f"wer-summary-{set_name}-{suffix}.txt", {setting: result})
    return result


def _sorted(result: ErrorRate) -> Iterator[tuple[str, Alignment]]:
    """The alignments by utterance id, in its order."""
    return ((i, result.alignments[i]) for i in sorted(result.alignments))


def _show_alignment(alignment: Alignment) -> str:
    """Correct tokens as they are, and runs of errors as (ref->hyp), with * for an empty side."""
    parts = []
    for correct, group in groupby(alignment, key=lambda pair: pair[0] == pair[1]):
        pairs = list(group)
        if correct:
            parts += [ref for ref, _ in pairs]
        else:
            ref, hyp = (" ".join(pair[side] for pair in pairs if pair[side]) or "*" for side in (0, 1))
            parts.append(f"({ref}->{hyp})")
    return " ".join(parts)


def _by_count(pairs: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(pairs.items(), key=lambda item: (-item[1], item[0]))


def _word_table(pairs: Mapping[tuple[str, str], int]) -> list[str]:
    """Lines of `token correct errors count_in_ref count_in_hyp`, most errors first."""
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
