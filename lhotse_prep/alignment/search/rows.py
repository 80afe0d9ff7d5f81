"""Scores of the states of CTC Viterbi over a text, advanced a block of frames at a time, and the rows that are kept.

Legend: F frames of a block, C symbols, U units in the text, K rows of lanes, W units of a window.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.states import NEVER, Block, Scores, Text
from lhotse_prep.alignment.search.viterbi import LANES, advance_lanes

_Number = TypeVar("_Number", bound=np.generic)


class Rows:
    """Scores of all states, in lanes, advanced a block at a time; row b is the one before block b."""

    def __init__(self, text: Text) -> None:
        self.num_rows = -(-len(text.symbols) // LANES)
        padding = self.num_rows * LANES - len(text.symbols)
        self.text = text._replace(
            symbols=self._in_lanes(np.pad(text.symbols, (0, padding))),
            jump=self._in_lanes(np.pad(text.jump, (0, padding), constant_values=NEVER)),
        )
        self.states = Scores(*(np.full((self.num_rows + 1, LANES), NEVER) for _ in range(3)))
        self.states.blank[1, 0] = 0.0
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
        self.states = advance_lanes(block, self.text, self.states)
        best = max(self.states.label[1:].max(), self.states.blank[1:].max())
        for scores in self.states:
            scores -= best
        self.kept.append(self._row())
        self.offsets.append(self.offsets[-1] + float(best))

    def window(self, row: int, begin: int, stop: int) -> NDArray[np.float32]:
        """A copy of the scores of units begin..stop - 1 in a kept row, (3, W): BLANK, LABEL and STAR."""
        lane, place = np.divmod(np.arange(begin, stop), self.num_rows)
        result = np.full((3, stop - begin), NEVER)
        result[: len(self.kept[row])] = self.kept[row][:, place, lane]
        return result

    def offset(self, row: int) -> float:
        """What has been subtracted from the scores of a kept row, so that float32 keeps its precision near zero."""
        return self.offsets[row]
