"""Units beside gaps that may as well be elsewhere: the same words can be said at both ends of speech without text.

Legend: U units in the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.best_path import Alignment
from lhotse_prep.frames import FrameReader
from lhotse_prep.rows import Lanes, Text
from lhotse_prep.viterbi import BLANK, LABEL, NEVER

WEAK = np.log(0.05)  # a unit's mean log-prob under which the model hardly hears it
_NEAR = 20  # timed units on either side of a gap that may be in doubt
_MARGIN = 3.0  # by how much a place must be better than any other, log-prob


def doubtful_units(reader: FrameReader, text: Text, path: Alignment, distance: int) -> NDArray[np.bool_]:
    """(U,) which units another path, nearly as good, leaves out or has at least `distance` frames away.

    Looked at are both ends of gaps between units of as many frames: from an end where the model hardly hears the unit,
    or the gap has as much speech without text, on to the first unit that is in no doubt. (A unit farther from the gap
    can only move over it with those before.)

    Args:
      reader: of the log-probs, after the way forward.
      text: the units, and what a path may cost.
      path: the best.
      distance: frames.
    """
    start, end, doubtful = path.start, path.end, path.doubtful.copy()
    timed = np.flatnonzero(start >= 0)
    if not len(timed):
        return doubtful
    begins, ends = np.append(0, end[timed]), np.append(start[timed], len(path.star))  # of gaps
    weak = path.score[timed] < WEAK
    before_weak, after_weak = np.append(False, weak), np.append(weak, False)
    count = np.append(0, np.cumsum(path.star))  # frames without text before each frame
    hole = count[ends] - count[begins] >= distance
    for gap in np.flatnonzero((ends - begins >= distance) & (hole | before_weak | after_weak)).tolist():
        before, after = timed[max(0, gap - _NEAR) : gap], timed[gap : gap + _NEAR]
        begin, finish = int(begins[gap - len(before)]), int(ends[gap + len(after)])
        around = _Around(reader, text, np.append(before, after), begin, finish)
        for units in (before[::-1], after):
            for unit in units.tolist():
                if around.margin(unit, start[unit] - distance, end[unit] + distance) >= _MARGIN:
                    break
                doubtful[unit] = True
    return doubtful


class _Around:
    """The paths of some units, ascending, through frames begin..finish - 1."""

    def __init__(self, reader: FrameReader, text: Text, units: NDArray[np.int64], begin: int, finish: int) -> None:
        self.units, self.begin, self.text = units, begin, text.part(units)
        self.emissions, self.star_scores = reader.frames(begin, finish, np.append(0, text.symbols[units]))
        self.best = self._best()

    def _best(self) -> float:
        """Log-prob of the best path."""
        rows = Lanes(self.text)
        rows.advance(self.emissions, self.star_scores)
        last = rows.window(1, len(self.units) - 1, len(self.units) + 1)
        return float(max(last[LABEL, 0], last[BLANK, 1])) + rows.offset(1)

    def margin(self, unit: int, begin: int, finish: int) -> float:
        """By how much the best path is better than the best of those without `unit` in frames begin..finish - 1."""
        frames = slice(max(0, begin - self.begin), finish - self.begin)
        column = self.emissions[frames, np.searchsorted(self.units, unit) + 1]
        kept = column.copy()
        column[:] = NEVER
        other = self._best()
        column[:] = kept
        return self.best - other
