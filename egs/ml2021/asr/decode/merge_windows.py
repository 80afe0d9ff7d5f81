"""Merge the tokens of neighbouring windows; where overlapping ones agree, no token is lost or doubled.

Legend: frames are encoder frames counted from the lecture's first sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from ml2021.asr.model.layers.encoder_frames import FRAME
from ml2021.asr.words.timed_word import TimedToken
from ml2021.asr.words.windows import Chunk

_SLACK = 12  # frames that two windows' times of one token may differ


def merge(decoded: Sequence[tuple[Chunk, Sequence[TimedToken]]]) -> list[TimedToken]:
    """Join the tokens of neighbouring windows, which overlap by their contexts or touch in a pause.

    Around each seam between two chunks, where both windows have tokens (but at most half of the shorter chunk away),
    the tokens are aligned by edit distance; two tokens can be aligned only if their times are close. Each position of
    the alignment is decided by the window with more context around it: the first before the seam, the second after it.
    A token in both windows is taken once; a substitution is taken from the deciding window. A token in only one window
    is kept if that window decides; otherwise it is dropped as an error at the window's edge.

    Args:
      decoded: windows in order of time, with their tokens in order.
    Returns:
      Tokens whose frames never decrease.
    """
    if not decoded:
        return []
    merged: list[TimedToken] = []
    first = -1  # first frame whose tokens of the current window are not yet in `merged`
    for (chunk, tokens), (next_chunk, next_tokens) in pairwise(decoded):
        seam, low, high = _vote_span(chunk, next_chunk)
        merged += [t for t in tokens if first <= t.frame < low]
        merged += vote(
            [t for t in tokens if max(first, low) <= t.frame < high],
            [t for t in next_tokens if low <= t.frame < high],
            seam,
        )
        first = high
    merged += [t for t in decoded[-1][1] if t.frame >= first]
    return _ascending(merged)


def vote(a: Sequence[TimedToken], b: Sequence[TimedToken], seam: int) -> list[TimedToken]:
    """Merge the tokens of the span that window a and the later window b share; see merge."""
    chosen = []
    for x, y in _align(a, b):
        if x is not None and y is not None:
            chosen.append(x if x.frame + y.frame < 2 * seam else y)
        elif x is not None and x.frame < seam:
            chosen.append(x)
        elif y is not None and y.frame >= seam:
            chosen.append(y)
    return chosen


def _vote_span(chunk: Chunk, next_chunk: Chunk) -> tuple[int, int, int]:
    """Seam, begin and end of the span that both windows decide on, in frames."""
    seam = chunk.keep_end
    shorter = min(chunk.keep_end - chunk.keep_begin, next_chunk.keep_end - next_chunk.keep_begin)
    low = max(next_chunk.begin, seam - shorter // 2)
    high = min(chunk.end, seam + shorter // 2)
    if high < low:  # a silence between them, which was not decoded
        end = -(-chunk.end // FRAME)
        return end, end, end
    return seam // FRAME, low // FRAME, -(-high // FRAME)


def _align(a: Sequence[TimedToken], b: Sequence[TimedToken]) -> list[tuple[TimedToken | None, TimedToken | None]]:
    """Pairs of a least-cost alignment in order, None for a missing token; among equals, that of the closest times."""
    cost = [[(0, 0, "")] * (len(b) + 1) for _ in range(len(a) + 1)]  # hundredths of an edit, -last frame, last move
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            moves = []  # among equal moves, min takes the one that is latest in time
            if i:
                moves.append((cost[i - 1][j][0] + 100, -a[i - 1].frame, "a"))
            if j:
                moves.append((cost[i][j - 1][0] + 100, -b[j - 1].frame, "b"))
            if i and j and abs(a[i - 1].frame - b[j - 1].frame) <= _SLACK:
                x, y = a[i - 1], b[j - 1]
                pair = 100 * (x.id != y.id) + abs(x.frame - y.frame)
                moves.append((cost[i - 1][j - 1][0] + pair, -max(x.frame, y.frame), "ab"))
            if moves:
                cost[i][j] = min(moves)
    pairs: list[tuple[TimedToken | None, TimedToken | None]] = []
    i, j = len(a), len(b)
    while i or j:
        move = cost[i][j][2]
        i, j = i - ("a" in move), j - ("b" in move)
        pairs.append((a[i] if "a" in move else None, b[j] if "b" in move else None))
    return pairs[::-1]


def _ascending(tokens: Sequence[TimedToken]) -> list[TimedToken]:
    """Raise frames so that they never decrease: the windows' times of a token differ slightly."""
    frame, result = 0, []
    for token in tokens:
        frame = max(frame, token.frame)
        result.append(token if token.frame == frame else replace(token, frame=frame))
    return result
