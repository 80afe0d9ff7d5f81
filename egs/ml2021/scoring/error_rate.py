"""The command `python -m ml2021.scoring.error_rate`: a report on the errors of one or more systems.

It gives MER by both normalisers with confidence intervals, its zh and en parts, the rate of each lecture, and paired
comparisons with the first system.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.counts import ErrorRate, by_lecture, by_utterance, mer_tokens, score
from ml2021.scoring.lecture_ids import utterances_by_lecture
from ml2021.scoring.normalizers import Normalizer, normalizers
from ml2021.scoring.resegment import resegment
from ml2021.scoring.significance import REPLICATIONS, SEED, chance_of_improvement, interval
from ml2021.scoring.texts import FORMATS, formats_of, read_texts

Texts = Mapping[str, str]  # by utterance id


def report(refs: Texts, systems: Mapping[str, Texts]) -> str:
    """The text of the report.

    Args:
      refs: reference texts.
      systems: hypothesis texts of each system by its name, for the same utterances or for whole lectures.
    Raises:
      DataError: a system has other utterances than the reference, or the order of a lecture's utterances is unknown.
    """
    lines = []
    for normalizer in normalizers():
        lines.append(f"{normalizer.signature}|bootstrap:{REPLICATIONS}|seed:{SEED}")
        normalized_refs = {i: normalizer.reference(text) for i, text in refs.items()}
        results: dict[str, ErrorRate] = {}  # without those of the normalizer before
        for name, hyps in systems.items():
            texts, lectures = _hypotheses(normalized_refs, hyps, normalizer, name)
            results[name] = score((i, ref, texts[i]) for i, ref in normalized_refs.items())
            lines += _system_lines(name, results[name], lectures)
        lines += _paired_lines(results)
    return "\n".join(lines) + "\n"


def cut_lectures(refs: Texts, hyps: Texts, utterances: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Cut the hypotheses of whole lectures into the utterances of their references (see resegment).

    Args:
      refs: normalised references by utterance id.
      hyps: normalised hypotheses by lecture id.
      utterances: {lecture id: ids of its utterances, in order}, see utterances_by_lecture.
    """
    texts: dict[str, str] = {}
    for lecture, ids in utterances.items():
        segments = resegment(mer_tokens(hyps[lecture]), [mer_tokens(refs[i]) for i in ids])
        texts |= {i: " ".join(segment) for i, segment in zip(ids, segments, strict=True)}
    return texts


def _hypotheses(
    refs: Texts, hyps: Texts, normalizer: Normalizer, name: str
) -> tuple[dict[str, str], dict[str, str] | None]:
    """Normalised hypotheses, one per reference, and {utterance: lecture} if they were cut from whole lectures."""
    texts = {i: normalizer.hypothesis(text) for i, text in hyps.items()}
    if texts.keys() == refs.keys():
        return texts, None
    if (utterances := utterances_by_lecture(refs, texts)) is not None:
        return cut_lectures(refs, texts, utterances), {i: lecture for lecture, ids in utterances.items() for i in ids}
    unmatched = sorted(refs.keys() ^ hyps.keys())
    missing, unknown = len(refs.keys() - hyps.keys()), len(hyps.keys() - refs.keys())
    ids = ", ".join(unmatched[:5]) + (", ..." if len(unmatched) > 5 else "")
    raise DataError(
        f"the reference and {name} differ in their utterances ({ids}: {len(unmatched)} in all): {missing} are missing "
        f"in {name}, {unknown} are unknown to the reference; both must have the same utterances (an empty hypothesis "
        "is a line with only the id), or the hypothesis must have the same lectures as a whole; use --format if plain "
        "text is read in the wrong way"
    )


def _system_lines(name: str, result: ErrorRate, cut_from: Mapping[str, str] | None) -> list[str]:
    cut = ", whole lectures cut to the references" if cut_from is not None else ""
    confidence = interval([u.total for u in by_utterance(result)])
    lines = [
        f"{name}: MER {result.total}",
        f"  95% interval {confidence or 'not known: needs at least two utterances with reference tokens'}, "
        f"{len(result.alignments)} utterances{cut}",
        f"  zh-CER {result.zh}",
        f"  en-WER {result.en}",
        f"  at switches {result.switches}",
    ]
    lectures = by_lecture(result, cut_from)
    if 1 < len(lectures) < len(result.alignments):
        lines += [f"  {lecture}: {r.total}" for lecture, r in lectures.items()]
    return lines


def _paired_lines(results: Mapping[str, ErrorRate]) -> list[str]:
    """Each of the other systems against the first."""
    (first, base), *others = results.items()
    counts = [u.total for u in by_utterance(base)] if others else []
    lines = []
    for name, result in others:
        chance = chance_of_improvement(counts, [u.total for u in by_utterance(result)])
        difference = result.total.errors - base.total.errors
        likely = "not known: too few utterances" if chance is None else f"{100 * chance:.1f}%"
        lines.append(f"{name} against {first}: {difference:+d} errors, chance that it is better (paired) {likely}")
    return lines


def main(argv: Sequence[str]) -> None:
    """Mixed error rate of hypotheses against references, by two normalisers, with 95% intervals.

    Files are plain text (Kaldi's `id text` lines, or lines without ids), recogs files, CTM, STM, or TRN; the last line
    says how they were read. Hypotheses of whole lectures are cut to match the references, where the ids of the
    utterances are that of the lecture and a number (LECTURE-1, LECTURE_0001, LECTURE-1-a ...), which is their order.
    """
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.scoring.error_rate",
        description=main.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ref", type=Path, help="references (the ref lines of a recogs file)")
    parser.add_argument("hyp", type=Path, help="hypotheses (the hyp lines of a recogs file)")
    parser.add_argument("--hyp2", type=Path, nargs="+", default=[], help="other systems' hypotheses, compared with hyp")
    parser.add_argument("--format", choices=FORMATS, default="auto", help="format of all files [%(default)s]")
    args = parser.parse_args(argv)
    hyps = [args.hyp, *args.hyp2]
    formats = formats_of(args.ref, hyps) if args.format == "auto" else [args.format] * (1 + len(hyps))
    systems: dict[str, Texts] = {}
    for path, file_format in zip(hyps, formats[1:], strict=True):
        name = path.name if path.name not in systems and path.name != args.ref.name else str(path)
        if name in systems:
            raise DataError(f"{path} is listed twice")
        systems[name] = read_texts(path, "hyp", file_format)
    sys.stdout.write(report(read_texts(args.ref, "ref", formats[0]), systems))
    sys.stdout.write(f"read as: {', '.join(f'{p} {f}' for p, f in zip((args.ref, *hyps), formats, strict=True))}\n")


if __name__ == "__main__":
    run_main(main)
