"""Joins the words of two windows that overlap, so that each word of the overlap comes once.

Both windows have the words of the overlap, apart from errors, mostly where a window is cut. Times may be off by a
second, so they are only a hint: the words are aligned by edit distance, and one pair of equal words in the middle of
the best alignment is where the first window's words end and the second window's begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ml2021.asr.words.timed_word import TimedWord

_SLACK = 1.5  # seconds that a word's time may be off
_EDGE = 1.0  # seconds at both ends of the overlap, where one of the windows may lack a word
_EQUAL, _SUBSTITUTION, _GAP, _SECOND = 2.0, -0.5, -1.0, -0.2  # scores: of pairs, words without a pair, a second apart
_NEIGHBOURS = 2  # pairs on each side that speak for a pair
_OFF_CENTRE = 4.0  # equal neighbours that outweigh a pair in the middle, for a pair an overlap's length away from it


class _Pair(NamedTuple):
    """Words of the two windows that are the same word; their places in the window's words, and a time in seconds."""

    first: int
    second: int
    time: float


def join(first: Sequence[TimedWord], second: Sequence[TimedWord], begin: float, end: float) -> list[TimedWord]:
    """The words of two windows.

    Args:
      first: of the window that ends at `end`, in order; times in seconds of the recording.
      second: of the window that begins at `begin`.
      begin, end: of the overlap, in seconds.
    """
    low = next((i for i, w in enumerate(first) if w.end >= begin - _SLACK), len(first))
    high = next((j for j in range(len(second), 0, -1) if second[j - 1].start <= end + _SLACK), 0)
    if low == len(first) or high == 0:
        return [*first, *second]
    pairs = [_Pair(low + i, j, t) for i, j, t in _equal_pairs(first[low:], second[:high], begin, end)]
    if not pairs:
        seam = (begin + end) / 2
        return [*(w for w in first if _middle(w) < seam), *(w for w in second if _middle(w) >= seam)]
    best = max(range(len(pairs)), key=lambda n: _support(pairs, n) - _OFF_CENTRE * _off_centre(pairs[n], begin, end))
    return [*first[: pairs[best].first + 1], *second[pairs[best].second + 1 :]]


def _middle(word: TimedWord) -> float:
    return (word.start + word.end) / 2


def _off_centre(pair: _Pair, begin: float, end: float) -> float:
    return abs(pair.time - (begin + end) / 2) / max(end - begin, 1e-3)


def _support(pairs: Sequence[_Pair], n: int) -> int:
    """How many pairs beside the n-th follow without a gap, up to _NEIGHBOURS on each side."""
    return sum(
        pairs[m].first - pairs[n].first == pairs[m].second - pairs[n].second == m - n
        for m in range(max(0, n - _NEIGHBOURS), min(len(pairs), n + _NEIGHBOURS + 1))
    )


def _equal_pairs(a: Sequence[TimedWord], b: Sequence[TimedWord], begin: float, end: float) -> list[_Pair]:
    """Pairs of equal words in an alignment of the highest score."""
    times = [[_middle(w) for w in words] for words in (a, b)]
    gaps = [[_GAP if begin + _EDGE <= t <= end - _EDGE else 0.0 for t in row] for row in times]
    best = [[(0.0, "")] * (len(b) + 1) for _ in range(len(a) + 1)]  # score, last move
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            moves = []
            if i and j and (apart := abs(times[0][i - 1] - times[1][j - 1])) <= 2 * _SLACK:
                pair = _EQUAL if a[i - 1].text == b[j - 1].text else _SUBSTITUTION
                moves.append((best[i - 1][j - 1][0] + pair + _SECOND * apart, "ab"))
            if i:
                moves.append((best[i - 1][j][0] + gaps[0][i - 1], "a"))
            if j:
                moves.append((best[i][j - 1][0] + gaps[1][j - 1], "b"))
            if moves:
                best[i][j] = max(moves)
    pairs: list[_Pair] = []
    i, j = len(a), len(b)
    while i or j:
        move = best[i][j][1]
        i, j = i - ("a" in move), j - ("b" in move)
        if move == "ab" and a[i].text == b[j].text:
            pairs.append(_Pair(i, j, (times[0][i] + times[1][j]) / 2))
    return pairs[::-1]
