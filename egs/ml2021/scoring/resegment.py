"""Words of a whole lecture -> the segments of its reference, by one alignment cut where the reference is cut.

The cuts are those of mwerSegmenter (Matusov et al., 2005) up to ties; here one global Levenshtein alignment gives them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein


def resegment(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cut the hypothesis into as many segments as there are references.

    Words are compared as they are: fold case or marks before, and cut the original by the lengths of the result.

    Args:
      hypothesis: the lecture's words.
      references: the words of each reference segment.
    Returns:
      Segments whose concatenation is the hypothesis; the sum of their edit distances to the references is the edit
      distance of the whole lecture.
    """
    whole = [word for segment in references for word in segment]
    ends: list[int] = []
    for segment in references:
        ends.append((ends[-1] if ends else 0) + len(segment))
    cuts = _cuts(whole, list(hypothesis), ends)
    starts = [0, *cuts[:-1]]
    return [list(hypothesis[a:b]) for a, b in zip(starts, cuts, strict=True)]


def _cuts(reference: list[str], hypothesis: list[str], ends: Sequence[int]) -> list[int]:
    """For each end in the reference, the place in the hypothesis; words inserted at a cut go to the segment after it."""
    places = [0] * (len(reference) + 1)  # hypothesis words before each place of the reference
    for op in Levenshtein.opcodes(reference, hypothesis):
        for i in range(op.src_start, op.src_end):
            places[i + 1] = min(op.dest_end, op.dest_start + i + 1 - op.src_start)
    return [places[e] for e in ends[:-1]] + [len(hypothesis)] * bool(ends)
