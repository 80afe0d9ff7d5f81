"""Cuts the speech of a recording into windows for a recogniser: in pauses, and where there is none with an overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE

_LONGEST_SILENCE = 2 * SAMPLE_RATE  # samples; a longer one is in no window
_MARGIN = 3 * SAMPLE_RATE // 10  # samples of silence before the first and after the last speech of a window
_LONGEST_OVERLAP = 6 * SAMPLE_RATE  # samples
_WIDE_PAUSE = SAMPLE_RATE // 2  # samples; of pauses that are at least as wide, the latest is best
EARLIEST = 0.4  # of the longest window: the best pause to cut in is after it


@dataclass(frozen=True)
class Chunk:
    """A window of our own recogniser, in samples: the audio that is decoded, and the part whose tokens are kept."""

    begin: int
    end: int
    keep_begin: int
    keep_end: int


class Window(NamedTuple):
    """Samples `begin` to `end` of a recording; it overlaps the one before where no pause is between them."""

    begin: int
    end: int


def windows_of(speech: NDArray[np.int64], num_samples: int, max_window: float) -> list[Window]:
    """Windows that have all speech in them.

    Args:
      speech: (R, 2) stretches in samples, ascending, disjoint.
      num_samples: of the recording.
      max_window: seconds that a window lasts at most.
    Returns:
      Windows in order. Neighbours are disjoint, but where speech goes on without a pause for max_window.
    """
    limit = int(max_window * SAMPLE_RATE)
    windows: list[Window] = []
    for stretches in _without_long_silences(speech):
        begin = max(0, int(stretches[0, 0]) - _MARGIN)
        windows += _cut(begin, min(num_samples, int(stretches[-1, 1]) + _MARGIN), stretches, limit)
    return windows


def _without_long_silences(speech: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    if not len(speech):
        return []
    silences = speech[1:, 0] - speech[:-1, 1]
    return np.split(speech, np.flatnonzero(silences > _LONGEST_SILENCE) + 1)


def _cut(begin: int, end: int, stretches: NDArray[np.int64], limit: int) -> list[Window]:
    """Windows from begin to end, which has no long silence in it."""
    widths = stretches[1:, 0] - stretches[:-1, 1]
    middles = stretches[:-1, 1] + widths // 2
    overlap = min(_LONGEST_OVERLAP, 2 * limit // 5)
    windows: list[Window] = []
    while end - begin > limit:
        after = max(begin + overlap, windows[-1].end if windows else 0)  # a window is longer than its overlaps
        cut = best_pause(middles, widths, max(after, begin + int(EARLIEST * limit)), begin + limit)
        if cut is None:
            cut = best_pause(middles, widths, after, begin + limit)
        if cut is None:
            windows.append(Window(begin, begin + limit))
            begin += limit - overlap
        else:
            windows.append(Window(begin, cut))
            begin = cut
    return [*windows, Window(begin, end)]


def best_pause(middles: NDArray[np.int64], widths: NDArray[np.int64], after: int, until: int) -> int | None:
    """The middle of the widest pause in a span, if there is a pause; of wide ones, of the latest.

    Args:
      middles, widths: of pauses, (P,) samples.
      after, until: the span in samples.
    """
    inside = np.flatnonzero((middles > after) & (middles <= until))
    if not len(inside):
        return None
    return int(middles[max(inside.tolist(), key=lambda i: (min(int(widths[i]), _WIDE_PAUSE), i))])
