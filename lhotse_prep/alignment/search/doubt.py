"""Units beside gaps that may just as well be elsewhere: the same words can be said at both ends of speech without text.

Legend: U units in the text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.search.frame_reader import BLOCK, FrameReader
from lhotse_prep.alignment.search.states import BLANK, LABEL, NEVER, Block, Scores, Text
from lhotse_prep.alignment.search.viterbi import advance

WEAK = float(np.log(0.05))  # below this mean log-prob, the model hardly recognises a unit
_NEAR = 20  # timed units on either side of a gap that are examined: about six seconds of words
# A unit is in doubt if the best path without it at its place is within this log-prob of the best path, beside a gap
# with `distance` frames without text. Less than star_opening: a place amid speech without text costs that much more
# than a place beside it, so a repetition of the words there causes no doubt beside a gap of up to two `distance`.
_MARGIN = 2.5
# The longer the gap, the likelier there is another place by chance, which the model may even hear better: 5.4 for a
# minute without text, 6.5 for five. Measured with 300 s of text deleted: of the words, 0.03 and 0.17% were more than
# 2 s off without it, 0.00 and 0.04% with it, and a third more of the said words have no time.
_MARGIN_BY_LENGTH = 0.7  # for each factor of e


def doubtful_units(reader: FrameReader, text: Text, path: Alignment, distance: int) -> NDArray[np.bool_]:
    """(U,) units that another path, nearly as good, leaves out or has at least `distance` frames away.

    It examines the ends of gaps of at least `distance` frames: gaps with that much speech without text, and gaps beside
    a unit that the model hardly recognises, which is in doubt for that reason alone. From each end it goes on to the
    first unit that is not in doubt, because a unit can only move across the gap together with the units nearer to it.
    The other paths consist of the timed units around the gap; units that the best path leaves out stay out. If the
    model hardly recognises most units, its scores say nothing about single units, and none is in doubt. The work is at
    most 80 * _NEAR searches of 2 * _NEAR units in each frame.

    Args:
      reader: of the log-probs, after the forward pass.
      text: the units, and the costs of a path.
      path: the best.
      distance: frames, at least 1.
    """
    start, end = path.start, path.end
    doubtful: NDArray[np.bool_] = path.doubtful.copy()
    timed = np.flatnonzero(start >= 0)
    weak = path.score[timed] < WEAK
    if 2 * weak.sum() >= len(timed):
        return doubtful
    begins, ends = np.append(0, end[timed]), np.append(start[timed], len(path.star))  # of gaps
    count = np.append(0, np.cumsum(path.star))  # frames without text before each frame
    without_text = count[ends] - count[begins]
    hole = without_text >= distance
    margins = _MARGIN + _MARGIN_BY_LENGTH * np.log(np.maximum(1.0, without_text / distance))
    look_back, look_on = hole | np.append(False, weak), hole | np.append(weak, False)
    for gap in np.flatnonzero((ends - begins >= distance) & (look_back | look_on)).tolist():
        before, after = timed[max(0, gap - _NEAR) : gap], timed[gap : gap + _NEAR]
        begin, finish = int(begins[gap - len(before)]), int(ends[gap + len(after)])
        around = _Around(reader, text, np.append(before, after), begin, finish)
        for look, units in ((look_back[gap], before[::-1]), (look_on[gap], after)):
            for unit in units.tolist() if look else []:
                if path.score[unit] >= WEAK and (
                    around.margin(unit, start[unit] - distance, end[unit] + distance) >= margins[gap]
                ):
                    break
                doubtful[unit] = True
    return doubtful


class _Around:
    """The paths of some units, ascending, through frames begin..finish - 1."""

    def __init__(self, reader: FrameReader, text: Text, units: NDArray[np.int64], begin: int, finish: int) -> None:
        self.units, self.begin, self.text = units, begin, text.part(units)
        self.frames = reader.frames(begin, finish, np.append(0, text.symbols[units]))
        self.best = self._best()

    def _best(self) -> float:
        """Log-prob of the best path."""
        states = np.full((3, len(self.units) + 1), NEVER)
        states[BLANK, 0] = 0.0
        total = 0.0
        for begin in range(0, len(self.frames.best), BLOCK):
            block = Block(*(x[begin : begin + BLOCK] for x in self.frames))
            advance(block, self.text, Scores(*states))
            best = float(states.max())  # subtracted, so that float32 keeps its precision near zero
            states -= best
            total += best
        return float(max(states[LABEL, -2], states[BLANK, -1])) + total

    def margin(self, unit: int, begin: int, finish: int) -> float:
        """Log-prob of the best path minus that of the best path without `unit` in frames begin..finish - 1."""
        frames = slice(max(0, begin - self.begin), finish - self.begin)
        column = self.frames.emissions[frames, np.searchsorted(self.units, unit) + 1]
        kept = column.copy()
        column[:] = NEVER
        other = self._best()
        column[:] = kept
        return self.best - other
