"""When cues start: never before their first word, at most MAX_DELAY later, and with time to be read where there is any.

All times are whole milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ml2021.st.cues.config import SubtitleConfig

MAX_DELAY = 299  # from a cue's first word, whose start is rounded up, to the cue's start: at most 0.3 s


def room_for_cues(earliest: Sequence[int], end: int, min_duration: int) -> NDArray[np.int64]:
    """Milliseconds that each of C cues can have: min_duration, or an even share of what there is where cues crowd.

    If all values are at least 1, start_times can keep every limit. Otherwise there are too many cues in one place.

    Args:
      earliest: (C,) when each cue's first word starts.
      end: of the audio.
      min_duration: what a cue needs.
    """
    low = np.array([*earliest, end], dtype=np.int64)  # the end of the audio is like a cue that cannot be delayed
    high = np.minimum(low + MAX_DELAY, end)
    room = np.full(len(earliest), min_duration, dtype=np.int64)
    for first, stop in _clusters(low, min_duration):
        for a in range(first, stop - 1):
            # From cue a to any later cue b, all cues together have at most high[b] - low[a].
            share = (high[a + 1 : stop] - low[a]) // np.arange(1, stop - a)
            smallest = np.minimum.accumulate(share[::-1])[::-1]
            room[a : stop - 1] = np.minimum(room[a : stop - 1], smallest)
    return room


def start_times(earliest: Sequence[int], room: Sequence[int]) -> list[int]:
    """The start of each cue: when its first word starts, or when the cue before it has had its room."""
    starts: list[int] = []
    for i, time in enumerate(earliest):
        starts.append(max(time, starts[-1] + room[i - 1]) if starts else time)
    return starts


def end_times(starts: Sequence[int], wanted: Sequence[int], config: SubtitleConfig) -> list[int]:
    """The end of each cue: as wanted, but min_gap before the next cue, and there if the gap would be below close_gap.

    Where a cue has less than twice min_gap to the next one, the two share the time evenly.

    Args:
      starts: (C + 1,) of C cues, and the end of the audio.
      wanted: (C,) how long each should stay.
      config: max_duration, min_gap and close_gap.
    """
    ends = []
    for i, (start, following, stop) in enumerate(zip(starts, starts[1:], wanted)):
        is_last = i + 1 == len(wanted)
        gap = 0 if is_last else min(round(1000 * config.min_gap), (following - start) // 2)
        if not is_last and following - stop < round(1000 * config.close_gap):
            stop = following
        ends.append(min(stop, following - gap, start + max(1, round(1000 * config.max_duration))))
    return ends


def _clusters(low: NDArray[np.int64], min_duration: int) -> list[tuple[int, int]]:
    """Ranges of cues that follow one another so closely that min_duration delays all but the first."""
    begins, time = [0], int(low[0])
    for i, earliest in enumerate(low[1:].tolist(), 1):
        if earliest >= time + min_duration:
            begins.append(i)
            time = earliest
        else:
            time += min_duration
    return list(zip(begins, [*begins[1:], len(low)]))
