"""Timed units that are strays: chance matches in speech without text, of text without speech, and at pauses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.align import Alignment

_TEXT_GAP = 3  # units without a time that part two runs of the text
_WEAK = np.log(0.05)  # a unit's mean log-prob under which its place is a guess
_STARS = 3  # frames of speech without text that part two runs: one or two units
_EDGE = 4  # so many times min_units: units that a run at the edge of speech without text needs


def drop_strays(alignment: Alignment, min_units: int, isolation: int, second: int) -> Alignment:
    """Untime what is likely to be in a wrong place.

    - Runs of fewer than min_units units that stand more than `isolation` frames from all others: matches in speech
      that has no text. Where no run has as many, all stay: there is nothing that they would be strays from. And runs
      of fewer than half as many that stand so far from the others on one side, and two seconds on the other.
    - Runs of fewer than min_units units with more doubtful units than that, and at least three, on both sides in the
      text, and runs of more than three doubtful units: matches of text that is not spoken. A unit is doubtful where it
      has no time, or the model hardly hears it (and hears most others).
    - At the edges of half a second's worth of frames of speech without text, runs of fewer than min_units units, or of
      fewer than four times as many that last no longer than that speech, and then the next ones: words that are said
      there too. They cost no more in the wrong place, so the text beside what has no text is drawn out over it.
    - Units that the model hardly hears beside a gap of more than a second: they may as well belong beyond it.

    Args:
      alignment: with start -1 for units that are not spoken.
      min_units: units of a run that stays.
      isolation: frames.
      second: frames of a second.
    """
    timed = alignment.start >= 0
    weak = timed & (alignment.score < _WEAK)
    if 2 * weak.sum() > timed.sum():  # a model that hardly hears anything: this tells nothing of single units
        weak[:] = False
    timed &= ~_islands_of_text(timed, weak, min_units)
    timed &= ~_islands_of_time(alignment, timed, min_units, isolation, second)
    timed &= ~_drawn_out(alignment, timed, min_units, second // 2)
    timed &= ~_weak_at_gaps(alignment, timed, weak, second)
    return Alignment(
        np.where(timed, alignment.start, -1), np.where(timed, alignment.end, -1),
        np.where(timed, alignment.score, 0.0), alignment.total, alignment.star,
    )  # fmt: skip


def _islands_of_text(timed: NDArray[np.bool_], weak: NDArray[np.bool_], min_units: int) -> NDArray[np.bool_]:
    """(U,) which units are in a short run between more doubtful ones at both sides, or in a long run of these."""
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


def _runs(units: NDArray[np.int64], gap: int) -> list[NDArray[np.int64]]:
    """Split ascending numbers where `gap` or more are missing."""
    return np.split(units, np.flatnonzero(np.diff(units) > gap) + 1) if len(units) else []


def _islands_of_time(
    alignment: Alignment, timed: NDArray[np.bool_], min_units: int, isolation: int, second: int
) -> NDArray[np.bool_]:
    """(U,) which units are in a short run far from all others in time, or in a shorter one astray from one side."""
    spoken = np.flatnonzero(timed)
    gaps = alignment.start[spoken[1:]] - alignment.end[spoken[:-1]]
    result = np.zeros_like(timed)
    runs = np.split(spoken, np.flatnonzero(gaps > isolation) + 1)
    if max(len(run) for run in runs) < min_units:
        return result
    for run in runs:
        result[run] = len(run) < min_units
    closer = np.flatnonzero(gaps > 2 * second)
    for run, before, after in zip(np.split(spoken, closer + 1)[1:], closer, closer[1:]):
        if 2 * len(run) < min_units and max(gaps[before], gaps[after]) > isolation:
            result[run] = True
    return result


def _drawn_out(alignment: Alignment, timed: NDArray[np.bool_], min_units: int, hole: int) -> NDArray[np.bool_]:
    """(U,) which units are in short runs at the edge of `hole` or more frames of speech without text."""
    spoken = np.flatnonzero(timed)
    before = np.append(0, np.cumsum(alignment.star))  # frames of speech without text before each frame
    stars = before[alignment.start[spoken[1:]]] - before[alignment.end[spoken[:-1]]]
    parted = np.flatnonzero(stars >= _STARS)
    runs = np.split(spoken, parted + 1)
    result = np.zeros_like(timed)
    if max(len(run) for run in runs) < _EDGE * min_units:
        return result
    for one_way in (1, -1):  # from each hole on, and back from it
        astray = False  # whether the run before, this way, is
        for run, gap in zip(runs[::one_way], [0, *stars[parted][::one_way].tolist()]):
            fewer = len(run) < _EDGE * min_units and (alignment.end[run] - alignment.start[run]).sum() <= gap
            astray = (astray or gap >= hole) and (len(run) < min_units or bool(fewer))
            result[run] |= astray
    return result


def _weak_at_gaps(
    alignment: Alignment, timed: NDArray[np.bool_], weak: NDArray[np.bool_], longest_gap: int
) -> NDArray[np.bool_]:
    """(U,) which units are weak and at an edge of a gap, or only weak units away from it."""
    spoken = np.flatnonzero(timed)
    gaps = alignment.start[spoken[1:]] - alignment.end[spoken[:-1]] > longest_gap
    result = np.zeros_like(timed)
    for i in np.flatnonzero(gaps).tolist():
        before, after = i, i + 1
        while before >= 0 and weak[spoken[before]]:
            result[spoken[before]] = True
            before -= 1
        while after < len(spoken) and weak[spoken[after]]:
            result[spoken[after]] = True
            after += 1
    return result
