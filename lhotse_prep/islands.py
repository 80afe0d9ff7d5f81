"""Timed units that are strays: chance matches in speech that has no text."""

from __future__ import annotations

import numpy as np

from lhotse_prep.align import Alignment


def drop_islands(alignment: Alignment, min_units: int, isolation: int) -> Alignment:
    """Untime runs of fewer than min_units spoken units that stand more than `isolation` frames from all others.

    Where no run has as many, all stay: there is nothing that they would be strays from.
    """
    start, end, score = alignment.start.copy(), alignment.end.copy(), alignment.score.copy()
    spoken = np.flatnonzero(start >= 0)
    gaps = start[spoken[1:]] - end[spoken[:-1]]
    runs = np.split(spoken, np.flatnonzero(gaps > isolation) + 1)
    if max(len(run) for run in runs) < min_units:
        return alignment
    for run in runs:
        if len(run) < min_units:
            start[run], end[run], score[run] = -1, -1, 0.0
    return Alignment(start, end, score, alignment.total)

