"""Cutting the hypothesis of a whole lecture into segments that match those of its reference.

    python -m ml2021.scoring.resegment REF HYP [--resegmenter mweralign] --out HYP.segments

The cuts equal those of mwerSegmenter (Matusov et al., 2005) up to ties and come from one global Levenshtein alignment.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_text, write_text
from ml2021.scoring.mwer import resegment_by_mweralign

OURS, MWERALIGN = "levenshtein", "mweralign"


def resegment(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cut the hypothesis into as many segments as there are references.

    Tokens are compared exactly. To ignore case or punctuation, pass normalised tokens, then cut the original by the
    lengths of the resulting segments.

    Args:
      hypothesis: tokens of the lecture.
      references: tokens of each reference segment; at least one segment.
    Returns:
      Segments whose concatenation is the hypothesis; the sum of their edit distances to the references is the edit
      distance of the whole lecture. Tokens inserted at a cut go to the segment after the cut.
    """
    assert references, "no reference segments"
    whole_reference = [token for segment in references for token in segment]
    places = _places(whole_reference, list(hypothesis))
    inner_ends = list(accumulate(len(segment) for segment in references))[:-1]
    cuts = [0, *(places[end] for end in inner_ends), len(hypothesis)]
    return [list(hypothesis[a:b]) for a, b in zip(cuts, cuts[1:])]


def _places(reference: list[str], hypothesis: list[str]) -> list[int]:
    """For each place between reference tokens (before the first, ..., after the last), the place in the hypothesis."""
    places = [0] * (len(reference) + 1)
    for op in Levenshtein.opcodes(reference, hypothesis):
        for i in range(op.src_start, op.src_end):
            places[i + 1] = min(op.dest_end, op.dest_start + i + 1 - op.src_start)
    return places


def cut_like(text: str, references: Sequence[str], resegmenter: str = OURS) -> list[str]:
    """Cut a lecture's text where its references are cut, ignoring case and punctuation; as many pieces as references.

    Args:
      text: of the whole lecture; spaces separate its words.
      references: at least one.
      resegmenter: levenshtein, or mweralign if it is installed.
    Raises:
      ConfigError: another resegmenter, or mweralign is not installed.
    """
    functions: dict[str, Callable[[Sequence[str], Sequence[Sequence[str]]], list[list[str]]]]
    functions = {OURS: resegment, MWERALIGN: resegment_by_mweralign}
    if resegmenter not in functions:
        raise ConfigError(f"resegmenter must be {' or '.join(functions)}, got {resegmenter!r}")
    words = text.split()
    bare = [[_bare(word) for word in reference.split()] for reference in references]
    segments, begin = [], 0
    for cut in functions[resegmenter]([_bare(word) for word in words], bare):
        segments.append(" ".join(words[begin : begin + len(cut)]))
        begin += len(cut)
    return segments


def _bare(word: str) -> str:
    """A word in lower case without punctuation; as it is if it has nothing else."""
    return re.sub(r"[^\w]", "", word.lower()) or word


def main(argv: list[str]) -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m ml2021.scoring.resegment",
        allow_abbrev=False,
        description="Write a text in lines that match those of its reference, for scores of sentences.",
    )
    parser.add_argument("reference", type=Path, help="reference, one sentence per line")
    parser.add_argument("hypothesis", type=Path, help="text of the same recording, in lines of any length")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--resegmenter", choices=[OURS, MWERALIGN], default=OURS, help="what cuts [%(default)s]")
    args = parser.parse_args(argv)
    references = _read(args.reference).removesuffix("\n").split("\n")
    segments = cut_like(_read(args.hypothesis), references, args.resegmenter)
    write_text(args.out, "".join(f"{segment}\n" for segment in segments))
    print(f"{args.out}: {len(segments)} segments")


def _read(path: Path) -> str:
    content = read_text(path)
    if not content or not content.strip():
        raise DataError(f"no such file, or it is empty: {path}")
    return content


if __name__ == "__main__":
    run_main(main)
