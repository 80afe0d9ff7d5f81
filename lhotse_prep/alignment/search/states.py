"""What the compiled steps of the search take and give: the text, a block of frames, scores of states, the path back.

They are named tuples because numba passes those to compiled functions.

Legend: T frames, F frames of a block, C different symbols in the text, with blank, U units in the text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEVER = np.float32(-1e30)  # log-prob of what is impossible
BLANK, LABEL, STAR = 0, 1, 2  # states of a unit, in the order of Scores


class Text(NamedTuple):
    """The units as the search sees them; position U stands for the end of the text."""

    symbols: NDArray[np.int64]  # (U + 1,) columns of Block.emissions
    jump: NDArray[np.float32]  # (U + 1,) 0, or NEVER where a blank must come before
    opening: np.float32  # cost of a stretch of speech without text; -NEVER: not allowed
    skip: np.float32  # cost of a unit without speech; -NEVER: not allowed

    @classmethod
    def of(cls, symbols: NDArray[np.int64], star_opening: float | None, skip_cost: float | None) -> Text:
        """A text of (U,) symbols; a cost of None forbids what it is the cost of."""
        symbols = np.append(symbols, 0)
        opening, skip = (-NEVER if cost is None else np.float32(cost) for cost in (star_opening, skip_cost))
        return cls(symbols, _jumps(symbols), opening, skip)

    @property
    def may_star(self) -> bool:
        """Whether there may be speech without text."""
        return bool(self.opening < -NEVER)

    @property
    def may_skip(self) -> bool:
        """Whether there may be units without speech."""
        return bool(self.skip < -NEVER)

    def part(self, units: NDArray[np.int64]) -> Text:
        """The given units alone, ascending; unit i of the part has column i + 1 to itself."""
        jump = _jumps(np.append(self.symbols[units], 0))
        return self._replace(symbols=np.append(np.arange(1, len(units) + 1), 0), jump=jump)


class Block(NamedTuple):
    """Log-probs of some frames."""

    emissions: NDArray[np.float32]  # (F, C), of the text's symbols; column 0 is blank
    star_scores: NDArray[np.float32]  # (F,), of speech without text
    best: NDArray[np.float32]  # (F,), at least each of the others


class Scores(NamedTuple):
    """Log-probs of the best paths into the states of some units, arrays of one shape."""

    blank: NDArray[np.float32]
    label: NDArray[np.float32]
    star: NDArray[np.float32]


class Path(NamedTuple):
    """Where the best path passes, as far as it has been followed back."""

    start: NDArray[np.int64]  # (U + 1,) first frame of each unit, -1 for units that it has not met
    end: NDArray[np.int64]  # (U + 1,) one past the last frame, or -1
    score: NDArray[np.float64]  # (U + 1,) sum of log-probs over the unit's frames
    star: NDArray[np.bool_]  # (T,) frames of speech without text


def _jumps(symbols: NDArray[np.int64]) -> NDArray[np.float32]:
    """(U + 1,) Text.jump of a text's symbols."""
    jump: NDArray[np.float32] = np.where(symbols == np.roll(symbols, 1), NEVER, np.float32(0))
    jump[0] = NEVER
    return jump
