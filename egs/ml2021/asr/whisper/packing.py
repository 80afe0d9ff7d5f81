"""Windows side by side in pieces of nearly 30 s, which Whisper recognises better and in less time than short ones.

Whisper always computes on 30 s, and what it sees before and after a word helps it. Windows that follow each other are
joined and cut anew: in pauses, as far as there are any, else between two windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from ml2021.asr.words.timed_word import TimedWord

STEP = SAMPLE_RATE // 50  # samples of 20 ms
_PAUSE = 10  # steps that must be quiet around a cut
_QUIET = 0.02  # of the mean energy
_EARLIEST = 0.6  # of the longest piece: a cut is after it
_COMPARED = SAMPLE_RATE // 4  # samples at the end of a window that are looked for in the next
_LONGEST_OVERLAP = 12 * SAMPLE_RATE


def packs(windows: Sequence[NDArray[np.float32]]) -> list[range]:
    """Groups of neighbouring windows that do not overlap; each window is in one group."""
    result: list[range] = []
    begin = 0
    for i, (before, after) in enumerate(pairwise(windows), 1):
        if _overlap(before, after):
            result.append(range(begin, i))
            begin = i
    return [*result, range(begin, len(windows))] if len(windows) else []


def pieces_of(samples: NDArray[np.float32], seams: Sequence[int], longest: int) -> list[tuple[int, int]]:
    """Cut joined windows into pieces.

    Args:
      samples: of the windows, joined.
      seams: their ends in samples, each at most `longest` after the one before.
      longest: samples of a piece at most.
    Returns:
      Begin and end of each piece, one after the other.
    """
    quiet = energies(samples)
    smooth = np.convolve(quiet, np.ones(_PAUSE) / _PAUSE, mode="same")
    limit = _QUIET * float(quiet.mean()) if len(quiet) else 0.0
    result: list[tuple[int, int]] = []
    begin = 0
    while len(samples) - begin > longest:
        first, last = (int(begin + share * longest) // STEP for share in (_EARLIEST, 1.0))
        pause = _last_run(smooth[first:last] <= limit)
        between = [seam for seam in seams if begin < seam <= begin + longest]
        end = (first + pause) * STEP + STEP // 2 if pause is not None else between[-1]
        result.append((begin, end))
        begin = end
    return [*result, (begin, len(samples))]


def unpacked(words: Sequence[TimedWord], durations: Sequence[float]) -> list[list[TimedWord]]:
    """The words of each of some joined windows: those whose middle is in it, with times in it.

    Args:
      words: in order, with times in seconds from the first window's begin.
      durations: of the windows, in seconds. Times before the first window and after the last stay as they are.
    """
    edges = [0.0, *accumulate(durations)]
    result: list[list[TimedWord]] = []
    for i, (begin, end) in enumerate(pairwise(edges)):
        low = -float("inf") if i == 0 else begin
        high = float("inf") if i == len(durations) - 1 else end
        result.append(
            [
                TimedWord(w.text, max(w.start, low) - begin, min(w.end, high) - begin, w.score)
                for w in words
                if low <= (w.start + w.end) / 2 < high
            ]
        )
    return result


def energies(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """The energy of each whole step."""
    whole = samples[: len(samples) // STEP * STEP]
    result: NDArray[np.float64] = np.square(whole, dtype=np.float64).reshape(-1, STEP).sum(axis=1)
    return result


def _last_run(is_quiet: NDArray[np.bool_]) -> int | None:
    """The middle of the last run of True; None without one."""
    places = np.flatnonzero(is_quiet)
    if not len(places):
        return None
    breaks = np.flatnonzero(np.diff(places) > 1)
    begin = places[breaks[-1] + 1] if len(breaks) else places[0]
    return int(begin + places[-1]) // 2


def _overlap(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether the end of a window is, sample by sample, in the beginning of the next."""
    end = before[-_COMPARED:]
    return bool(np.any(end)) and end.tobytes() in after[:_LONGEST_OVERLAP].tobytes()
