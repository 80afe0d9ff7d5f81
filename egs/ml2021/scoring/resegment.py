"""Cutting the hypothesis of a whole lecture into segments that match those of its reference.

The cuts equal those of mwerSegmenter (Matusov et al., 2005) up to ties and come from one global Levenshtein alignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from rapidfuzz.distance import Levenshtein


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
