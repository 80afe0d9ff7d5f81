"""Timed units that are probably in a wrong place: chance matches of unspoken text, and units in doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.search.doubt import WEAK

_TEXT_GAP = 3  # untimed units in a row that separate two runs of the text


def drop_strays(alignment: Alignment, min_units: int, isolation: int) -> Alignment:
    """Remove times that are probably wrong.

    A unit is reliable if it has a time and the model recognises it there; where the model recognises hardly any unit,
    having a time is enough. These units lose their times:

    - Units that may just as well be elsewhere (`Alignment.doubtful`).
    - Chance matches of text that is not spoken: runs of fewer than min_units reliable units with longer runs of
      unreliable ones, at least three, on both sides; and all of a run of more than three unreliable units.
    - Matches in speech without text: runs of fewer than min_units units more than `isolation` frames from all others.

    Where no run has min_units units, the last two rules remove nothing: there is no main path to stray from.

    Args:
      alignment: with start -1 for units that are not spoken.
      min_units: units of a run that is kept wherever it is.
      isolation: frames.
    """
    timed = (alignment.start >= 0) & ~alignment.doubtful
    weak = timed & (alignment.score < WEAK)
    if 2 * weak.sum() > timed.sum():  # the model recognises little: its scores say nothing about single units
        weak[:] = False
    timed &= ~_islands_of_text(timed, weak, min_units)
    timed &= ~_islands_of_time(alignment, timed, min_units, isolation)
    return replace(
        alignment,
        start=np.where(timed, alignment.start, -1),
        end=np.where(timed, alignment.end, -1),
        score=np.where(timed, alignment.score, 0.0),
    )


def _islands_of_text(timed: NDArray[np.bool_], weak: NDArray[np.bool_], min_units: int) -> NDArray[np.bool_]:
    """(U,) which units are in a short reliable run between longer unreliable ones, or in a long unreliable run."""
    reliable = timed & ~weak
    runs = split_at_gaps(np.flatnonzero(reliable), _TEXT_GAP)
    if max((len(run) for run in runs), default=0) < min_units:
        return np.zeros_like(timed)
    for i, run in enumerate(runs):
        before = run[0] - runs[i - 1][-1] - 1 if i else run[0]
        after = runs[i + 1][0] - run[-1] - 1 if i + 1 < len(runs) else len(timed) - 1 - run[-1]
        if len(run) < min_units and min(before, after) >= max(_TEXT_GAP, len(run) + 1):
            reliable[run] = False
    result = timed & ~weak & ~reliable
    for run in split_at_gaps(np.flatnonzero(~reliable), 1):
        result[run] |= len(run) > _TEXT_GAP
    return result


def _islands_of_time(
    alignment: Alignment, timed: NDArray[np.bool_], min_units: int, isolation: int
) -> NDArray[np.bool_]:
    """(U,) which units are in a short run that is far in time from all others."""
    spoken = np.flatnonzero(timed)
    gaps = alignment.start[spoken[1:]] - alignment.end[spoken[:-1]]
    runs = np.split(spoken, np.flatnonzero(gaps > isolation) + 1)
    result = np.zeros_like(timed)
    for run in runs if max(len(run) for run in runs) >= min_units else []:
        result[run] = len(run) < min_units
    return result


def split_at_gaps(units: NDArray[np.int64], gap: int) -> list[NDArray[np.int64]]:
    """Split ascending numbers where at least `gap` are missing."""
    return np.split(units, np.flatnonzero(np.diff(units) > gap) + 1) if len(units) else []
