"""Times of words that never descend, with as few times changed as possible."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ml2021.asr.words.timed_word import TimedWord

SHORTEST = 0.02  # seconds of a word


def times_in_order(words: Sequence[TimedWord], duration: float, shortest: float = SHORTEST) -> list[TimedWord]:
    """Words whose starts never descend, and each of which ends before the next one starts.

    The longest sequence of words whose starts do not descend keeps its starts; those of the others lie between them.

    Args:
      words: in order.
      duration: of the recording, in seconds.
      shortest: seconds that a word lasts at least, if there is room.
    """
    if not words:
        return []
    starts = np.array([w.start for w in words])
    kept = _longest_ascending(starts)
    starts = np.interp(np.arange(len(words)), kept, starts[kept])
    steps = shortest * np.arange(len(words))  # from the last word back, each leaves room for what follows
    room = np.minimum.accumulate((starts - steps)[::-1])[::-1]
    starts = np.minimum(room, duration - shortest * len(words)) + steps
    starts = np.maximum.accumulate(np.maximum(starts, 0.0))
    starts = np.minimum(starts, duration)
    following = np.append(starts[1:], duration)
    ends = np.maximum(np.minimum(np.array([w.end for w in words]), following), np.minimum(starts + shortest, following))
    return [
        w if (w.start, w.end) == (start, end) else replace(w, start=start, end=end)
        for w, start, end in zip(words, starts.tolist(), ends.tolist())
    ]


def _longest_ascending(values: NDArray[np.float64]) -> list[int]:
    """The places of a longest sequence that never descends (Schensted 1961)."""
    tails: list[float] = []  # the least last value of a sequence of each length
    places: list[int] = []
    before = [-1] * len(values)
    for i, value in enumerate(values.tolist()):
        length = bisect_right(tails, value)
        before[i] = places[length - 1] if length else -1
        tails[length : length + 1] = [value]
        places[length : length + 1] = [i]
    sequence = []
    i = places[-1]
    while i >= 0:
        sequence.append(i)
        i = before[i]
    return sequence[::-1]
