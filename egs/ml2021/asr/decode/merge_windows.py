"""Tokens of overlapping windows -> tokens of the lecture; nothing is lost or doubled where the windows agree.

Legend: frames are encoder frames counted from the lecture's first sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lhotse_prep.windows.cut import Chunk
from ml2021.asr.model.layers.frame_mask import FRAME

_SLACK = 12  # frames that two windows' times of one token may differ


@dataclass(frozen=True, slots=True)  # a lecture has many
class TimedToken:
    """A token of a lecture; `frame` counts encoder frames from the lecture's first sample."""

    id: int
    frame: int
    score: float


def merge(decoded: Sequence[tuple[Chunk, Sequence[TimedToken]]]) -> list[TimedToken]:
    """Join the tokens of neighbouring windows, each heard with context.

    Around each seam, as far as both windows hear (but no farther than half of the shorter chunk), their tokens are
    aligned by edit distance, in which tokens are the same or stand for each other only if their times are close. Each
    place of that alignment is then decided by the window that hears more around it: the first before the seam, the
    second behind it. A token that both have is taken once, a substitution as that window has it; a token that only
    one of them has is kept where that window decides, and dropped as made up at its edge where the other does.

    Args:
      decoded: windows in order of time, with their tokens in order.
    Returns:
      Tokens with frames that never descend.
    """
    if not decoded:
        return []
    merged: list[TimedToken] = []
    first = -1  # frame from which the tokens of the present window are not yet in `merged`
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
    """Tokens of the span that window a and the later window b both hear; see merge."""
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
    """Seam, begin and end of the span, in frames."""
    seam = chunk.keep_end
    shorter = min(chunk.keep_end - chunk.keep_begin, next_chunk.keep_end - next_chunk.keep_begin)
    low = max(next_chunk.begin, seam - shorter // 2)
    high = min(chunk.end, seam + shorter // 2)
    if high < low:  # silence between them, which neither hears
        end = -(-chunk.end // FRAME)
        return end, end, end
    return seam // FRAME, low // FRAME, -(-high // FRAME)


def _align(a: Sequence[TimedToken], b: Sequence[TimedToken]) -> list[tuple[TimedToken | None, TimedToken | None]]:
    """Pairs of a least-cost alignment in order; None where only one has a token. Among equals, the nearest times."""
    cost = [[(0, 0, "")] * (len(b) + 1) for _ in range(len(a) + 1)]  # hundredths of an edit, -last frame, last move
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            moves = []  # of equal ones, the last in time comes last
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
    """Frames that never descend: the windows' times of one token differ a little."""
    frame, result = 0, []
    for token in tokens:
        frame = max(frame, token.frame)
        result.append(token if token.frame == frame else replace(token, frame=frame))
    return result
