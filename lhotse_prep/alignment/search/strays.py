"""Timed units that are strays: chance matches of text that is not spoken, and those whose place is in doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.align import Alignment
from lhotse_prep.alignment.search.doubt import WEAK

_TEXT_GAP = 3  # units without a time that part two runs of the text


def drop_strays(alignment: Alignment, min_units: int, isolation: int) -> Alignment:
    """Untime what is likely to be in a wrong place.

    - Units that may as well be elsewhere (`Alignment.doubtful`).
    - Runs of fewer than min_units units with more infirm units than that, and at least three, on both sides in the
      text, and runs of more than three infirm units: matches of text that is not spoken. A unit is infirm that has no
      time, or that the model hardly hears (where it hears most others).
    - Runs of fewer than min_units units more than `isolation` frames from all others: matches in speech without text.
      Where no run has as many, all stay: there is nothing that they would be strays from.

    Args:
      alignment: with start -1 for units that are not spoken.
      min_units: units of a run that stays.
      isolation: frames.
    """
    timed = (alignment.start >= 0) & ~alignment.doubtful
    weak = timed & (alignment.score < WEAK)
    if 2 * weak.sum() > timed.sum():  # a model that hardly hears anything: this tells nothing of single units
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
    """(U,) which units are in a short run between more infirm ones at both sides, or in a long run of these."""
    firm = timed & ~weak
    runs = _runs(np.flatnonzero(firm), _TEXT_GAP)
    if max((len(run) for run in runs), default=0) < min_units:
        return np.zeros_like(timed)
    for i, run in enumerate(runs):
        before = run[0] - runs[i - 1][-1] - 1 if i else run[0]
        after = runs[i + 1][0] - run[-1] - 1 if i + 1 < len(runs) else len(timed) - 1 - run[-1]
        if len(run) < min_units and min(before, after) >= max(_TEXT_GAP, len(run) + 1):
            firm[run] = False
    result = timed & ~weak & ~firm
    for run in _runs(np.flatnonzero(~firm), 1):
        result[run] |= len(run) > _TEXT_GAP
    return result


def _islands_of_time(
    alignment: Alignment, timed: NDArray[np.bool_], min_units: int, isolation: int
) -> NDArray[np.bool_]:
    """(U,) which units are in a short run far from all others in time."""
    spoken = np.flatnonzero(timed)
    gaps = alignment.start[spoken[1:]] - alignment.end[spoken[:-1]]
    runs = np.split(spoken, np.flatnonzero(gaps > isolation) + 1)
    result = np.zeros_like(timed)
    for run in runs if max(len(run) for run in runs) >= min_units else []:
        result[run] = len(run) < min_units
    return result


def _runs(units: NDArray[np.int64], gap: int) -> list[NDArray[np.int64]]:
    """Split ascending numbers where `gap` or more are missing."""
    return np.split(units, np.flatnonzero(np.diff(units) > gap) + 1) if len(units) else []
