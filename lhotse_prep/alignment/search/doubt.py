"""Units beside gaps that may as well be elsewhere: the same words can be said at both ends of speech without text.

Legend: U units in the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.search.frame_reader import BLOCK, FrameReader
from lhotse_prep.alignment.search.rows import Band, Text
from lhotse_prep.alignment.search.viterbi import BLANK, LABEL, NEVER

WEAK = np.log(0.05)  # a unit's mean log-prob under which the model hardly hears it
_NEAR = 20  # timed units on either side of a gap that are looked at: some six seconds of words
# By how much a place must be better than any other, log-prob. Less than star_opening: a place amid speech without text
# costs that much more than one beside it, so that what is said there once more is no reason for doubt.
_MARGIN = 2.5
_ALL = 1e9  # a beam that drops nothing


def doubtful_units(reader: FrameReader, text: Text, path: Alignment, distance: int) -> NDArray[np.bool_]:
    """(U,) which units another path, nearly as good, leaves out or has at least `distance` frames away.

    Looked at are the ends of gaps of as many frames: those with as much speech without text, and those where the model
    hardly hears the unit, which is reason enough for doubt there. From an end it goes on to the first unit that is in
    no doubt, for a unit can only move over the gap with those that are nearer to it. The other paths are those of the
    timed units around the gap: units that the best path leaves out stay so. A model that hardly hears most units tells
    nothing of single ones: none is in doubt then. The work is at most 80 * _NEAR searches of 2 * _NEAR units in each
    frame.

    Args:
      reader: of the log-probs, after the way forward.
      text: the units, and what a path may cost.
      path: the best.
      distance: frames, at least 1.
    """
    start, end, doubtful = path.start, path.end, path.doubtful.copy()
    timed = np.flatnonzero(start >= 0)
    weak = path.score[timed] < WEAK
    if 2 * weak.sum() >= len(timed):
        return doubtful
    begins, ends = np.append(0, end[timed]), np.append(start[timed], len(path.star))  # of gaps
    count = np.append(0, np.cumsum(path.star))  # frames without text before each frame
    hole = count[ends] - count[begins] >= distance
    look_back, look_on = hole | np.append(False, weak), hole | np.append(weak, False)
    for gap in np.flatnonzero((ends - begins >= distance) & (look_back | look_on)).tolist():
        before, after = timed[max(0, gap - _NEAR) : gap], timed[gap : gap + _NEAR]
        begin, finish = int(begins[gap - len(before)]), int(ends[gap + len(after)])
        around = _Around(reader, text, np.append(before, after), begin, finish)
        for look, units in ((look_back[gap], before[::-1]), (look_on[gap], after)):
            for unit in units.tolist() if look else []:
                if path.score[unit] >= WEAK and (
                    around.margin(unit, start[unit] - distance, end[unit] + distance) >= _MARGIN
                ):
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
        rows = Band(self.text, _ALL)
        num_frames, num_units = len(self.emissions), len(self.units)
        for begin in range(0, num_frames, BLOCK):
            rows.advance(self.emissions[begin : begin + BLOCK], self.star_scores[begin : begin + BLOCK])
        num_blocks = -(-num_frames // BLOCK)
        last = rows.window(num_blocks, num_units - 1, num_units + 1)
        return float(max(last[LABEL, 0], last[BLANK, 1])) + rows.offset(num_blocks)

    def margin(self, unit: int, begin: int, finish: int) -> float:
        """By how much the best path is better than the best of those without `unit` in frames begin..finish - 1."""
        frames = slice(max(0, begin - self.begin), finish - self.begin)
        column = self.emissions[frames, np.searchsorted(self.units, unit) + 1]
        kept = column.copy()
        column[:] = NEVER
        other = self._best()
        column[:] = kept
        return self.best - other
