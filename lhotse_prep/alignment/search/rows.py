"""Scores of the states of CTC Viterbi over a text, advanced a block of frames at a time, and the rows that are kept.

A path's loss is what it has less than the best log-probs of all frames. As no cost is negative, it never falls along a
path, but for float32's rounding. So states with a higher loss than that of a whole path are left out.

Legend: F frames of a block, C symbols, U units in the text, K rows of lanes, W units of a window.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.lanes import LANES, advance_lanes
from lhotse_prep.alignment.search.states import BLANK, LABEL, NEVER, Block, Scores, Text

_Number = TypeVar("_Number", bound=np.generic)


class Rows:
    """Scores of all states, in lanes, advanced a block at a time; row b is the one before block b."""

    def __init__(self, text: Text, most_loss: float = np.inf, beam: float = np.inf) -> None:
        """
        Args:
          text: the units, and the costs of a path.
          most_loss: of the states that are needed.
          beam: only states that are about this near to the best one of their frame are needed.
        """
        self.most_loss, self.beam = most_loss, beam
        self.num_units = len(text.symbols)
        self.num_rows = -(-self.num_units // LANES)
        padding = self.num_rows * LANES - self.num_units
        self.text = text._replace(
            symbols=self._in_lanes(np.pad(text.symbols, (0, padding))),
            jump=self._in_lanes(np.pad(text.jump, (0, padding), constant_values=NEVER)),
        )
        self.states = Scores(*(np.full((self.num_rows + 1, LANES), NEVER) for _ in range(3)))
        self._others = self.states._replace(blank=self.states.blank.copy(), label=self.states.label.copy())
        self.states.blank[1, 0] = 0.0
        self._lanes = (0, 1)
        self._loss = 0.0  # of a score of 0
        self._size = 0.0  # of the scores that have been added up
        self.kept = [self._row()]
        self.offsets = [0.0]

    def _in_lanes(self, values: NDArray[_Number]) -> NDArray[_Number]:
        return np.ascontiguousarray(values.reshape(LANES, self.num_rows).T)

    def _row(self) -> NDArray[np.float32]:
        """(2 or 3, K, LANES): star only where there may be speech without text."""
        blank, label, star = self.states
        return np.stack([blank[1:], label[1:], *([star[1:]] if self.text.may_star else [])])

    def advance(self, block: Block) -> None:
        """Go through a block's frames, and keep the row after them."""
        limit = max(self._loss - self.most_loss, -self.beam)
        self.states, self._others, self._lanes = advance_lanes(
            block, self.text, self.states, self._others, self._lanes, limit, self.beam
        )
        self._loss += float(block.best.sum(dtype=np.float64))
        self._size += float(np.abs(block.best).sum(dtype=np.float64))
        lanes = slice(*self._lanes)
        best = max(self.states.label[1:, lanes].max(), self.states.blank[1:, lanes].max())
        for scores in self.states:
            scores[:, lanes] -= best
        self._loss -= float(best)
        self.kept.append(self._row())
        self.offsets.append(self.offsets[-1] + float(best))

    def loss(self) -> float:
        """That of the best path to the end of the text; infinite if none is known."""
        label, blank = self.window(len(self.kept) - 1, self.num_units - 2, self.num_units)[[LABEL, BLANK], [0, 1]]
        score = float(max(label, blank))
        return self._loss - score if score > NEVER / 2 else np.inf

    def most_loss_of_best(self) -> float:
        """No less than the loss of the best path: that of this search's, and what float32 may have rounded off.

        Adding like values in each frame is rounded to the same side: by up to 5e-6 of the sum (measured).
        """
        loss = max(self.loss(), 0.0)
        return loss + 1.0 + 1e-4 * (self._size + loss)

    def window(self, row: int, begin: int, stop: int) -> NDArray[np.float32]:
        """A copy of the scores of units begin..stop - 1 in a kept row, (3, W): BLANK, LABEL and STAR."""
        lane, place = np.divmod(np.arange(begin, stop), self.num_rows)
        result = np.full((3, stop - begin), NEVER)
        result[: len(self.kept[row])] = self.kept[row][:, place, lane]
        return result

    def offset(self, row: int) -> float:
        """What has been subtracted from the scores of a kept row, so that float32 keeps its precision near zero."""
        return self.offsets[row]
