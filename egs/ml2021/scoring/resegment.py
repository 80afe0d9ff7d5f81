"""Words of a whole lecture -> the segments of its reference, by one alignment cut where the reference is cut.

The cuts are those of mwerSegmenter (Matusov et al., 2005) up to ties; here one global Levenshtein alignment gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from rapidfuzz.distance import Levenshtein


def resegment(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cut the hypothesis into as many segments as there are references.

    Words are compared as they are: fold case or marks before, and cut the original by the lengths of the result.

    Args:
      hypothesis: the lecture's words.
      references: the words of each reference segment, at least one segment.
    Returns:
      Segments whose concatenation is the hypothesis; the sum of their edit distances to the references is the edit
      distance of the whole lecture. Words inserted where the reference is cut go to the segment after the cut.
    """
    assert references, "there are no segments to cut into"
    whole = [word for segment in references for word in segment]
    places = _places(whole, list(hypothesis))
    inner_ends = list(accumulate(len(segment) for segment in references))[:-1]
    cuts = [0, *(places[end] for end in inner_ends), len(hypothesis)]
    return [list(hypothesis[a:b]) for a, b in zip(cuts, cuts[1:])]


def _places(reference: list[str], hypothesis: list[str]) -> list[int]:
    """For each place between reference words (before the first, ..., after the last), its place in the hypothesis."""
    places = [0] * (len(reference) + 1)
    for op in Levenshtein.opcodes(reference, hypothesis):
        for i in range(op.src_start, op.src_end):
            places[i + 1] = min(op.dest_end, op.dest_start + i + 1 - op.src_start)
    return places
