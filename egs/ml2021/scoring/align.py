"""Minimum edit alignments of texts of any length: kaldialign's, piece by piece for those that are too long for it.

kaldialign keeps a cell for each pair of tokens (1.6 GB for two texts of 20,000). Longer texts are cut where they agree,
at places on a path of least edits that rapidfuzz finds in linear memory, so that the errors of the pieces add up to
those of the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import kaldialign
from rapidfuzz.distance import Levenshtein

EPSILON = ""  # the empty side of an insertion or deletion in an alignment
MOST_CELLS = 4_000_000  # pairs of tokens that kaldialign aligns at once, such as 2,000 x 2,000: 16 MB
_PIECE = 500  # tokens of both sides together that a piece has at least
Alignment = list[tuple[str, str]]  # (reference token, hypothesis token); one of them may be EPSILON
_Cut = tuple[int, int]  # places in reference and hypothesis


def align(ref: Sequence[str], hyp: Sequence[str]) -> Alignment:
    """Pairs of an alignment with the fewest errors; tokens of both sides are in order and complete."""
    if len(ref) * len(hyp) <= MOST_CELLS:
        return list(kaldialign.align(list(ref), list(hyp), EPSILON))
    pairs: Alignment = []
    begin = (0, 0)
    for end in _cuts(ref, hyp):
        pairs += kaldialign.align(list(ref[begin[0] : end[0]]), list(hyp[begin[1] : end[1]]), EPSILON)
        begin = end
    return pairs


def _cuts(ref: Sequence[str], hyp: Sequence[str]) -> Iterator[_Cut]:
    """The ends of pieces of _PIECE to about twice _PIECE tokens, the last one at the end of both texts.

    A piece ends in the middle of the longest run of equal tokens there, so that a cut has no influence on the alignment
    around it, or in the midst of errors if there is no such run.
    """
    begin, best, longest = (0, 0), (0, 0), -1
    for place, num_equal in _places(ref, hyp):
        size = sum(place) - sum(begin)
        if size > 2 * _PIECE and longest >= 0:
            yield best
            begin, longest = best, -1
            size = sum(place) - sum(begin)
        if size >= _PIECE and num_equal > longest:
            best, longest = place, num_equal
    yield len(ref), len(hyp)


def _places(ref: Sequence[str], hyp: Sequence[str]) -> Iterator[tuple[_Cut, int]]:
    """Places on a path of least edits, in order, where a cut may be, with the length of the equal run each is in."""
    ids = {token: i for i, token in enumerate(dict.fromkeys([*ref, *hyp]))}  # equal tokens only have equal numbers
    for op in Levenshtein.opcodes([ids[token] for token in ref], [ids[token] for token in hyp]):
        num_ref, num_hyp = op.src_end - op.src_start, op.dest_end - op.dest_start
        if op.tag == "equal" and num_ref <= _PIECE:
            yield (op.src_start + num_ref // 2, op.dest_start + num_ref // 2), num_ref
            continue
        num_equal = num_ref if op.tag == "equal" else 0
        steps = range(_PIECE // 2, max(num_ref, num_hyp), _PIECE // 2)
        for i in steps:
            yield (op.src_start + min(i, num_ref), op.dest_start + min(i, num_hyp)), num_equal
        yield (op.src_end, op.dest_end), 0
