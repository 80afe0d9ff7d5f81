"""Scores of the states of CTC Viterbi over a text, advanced a block of frames at a time, with the rows that are kept.

Legend: F frames of a block, C symbols, U units in the text, W units of a window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.viterbi import BLANK, LANES, NEVER, advance_band, advance_lanes


@dataclass(frozen=True)
class Text:
    """The units as the search sees them; position U stands for the end of the text."""

    symbols: NDArray[np.int64]  # (U + 1,) columns of the reader's blocks
    jump: NDArray[np.float32]  # (U + 1,) 0, or NEVER where a blank must come before
    opening: np.float32  # price of a stretch of speech without text; -NEVER: there is none
    skip: np.float32  # and of a unit without speech

    @classmethod
    def of(cls, symbols: NDArray[np.int64], star_opening: float | None, skip_cost: float | None) -> Text:
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
        """Some units alone, ascending; the i-th has column i + 1 to itself."""
        jump = _jumps(np.append(self.symbols[units], 0))
        return replace(self, symbols=np.append(np.arange(1, len(units) + 1), 0), jump=jump)


def _jumps(symbols: NDArray[np.int64]) -> NDArray[np.float32]:
    """(U + 1,) Text.jump of a text's symbols."""
    jump = np.where(symbols == np.roll(symbols, 1), NEVER, np.float32(0))
    jump[0] = NEVER
    return jump


class Rows(Protocol):
    """Scores of all states, advanced a block at a time; row b is that before block b."""

    def advance(self, emissions: NDArray[np.float32], star_scores: NDArray[np.float32]) -> None:
        """Go through a block's frames, and keep the row after them."""

    def window(self, row: int, begin: int, stop: int) -> NDArray[np.float32]:
        """A copy of the scores of units begin..stop - 1 in a kept row, (3, W): BLANK, LABEL and STAR."""

    def offset(self, row: int) -> float:
        """What has been taken off the scores of a kept row, so that float32 keeps its precision near zero."""


class Lanes:
    """All states."""

    def __init__(self, text: Text) -> None:
        self.text = text
        self.num_rows = -(-len(text.symbols) // LANES)
        padding = self.num_rows * LANES - len(text.symbols)
        self.symbols = self._in_lanes(np.pad(text.symbols, (0, padding)))
        self.jump = self._in_lanes(np.pad(text.jump, (0, padding), constant_values=NEVER))
        self.blank, self.label, self.star = (np.full((self.num_rows + 1, LANES), NEVER) for _ in range(3))
        self.blank[1, 0] = 0.0
        self.kept = [self._row()]
        self.offsets = [0.0]

    def _in_lanes(self, values: NDArray) -> NDArray:
        return np.ascontiguousarray(values.reshape(LANES, self.num_rows).T)

    def _row(self) -> NDArray[np.float32]:
        """(2 or 3, K, LANES); no more than is used."""
        return np.stack([self.blank[1:], self.label[1:], *([self.star[1:]] if self.text.may_star else [])])

    def advance(self, emissions: NDArray[np.float32], star_scores: NDArray[np.float32]) -> None:
        text = self.text
        self.label, self.blank = advance_lanes(
            emissions,
            star_scores,
            self.symbols,
            self.jump,
            self.label,
            self.blank,
            self.star,
            text.opening,
            text.skip,
            text.may_skip,
        )
        best = max(self.label[1:].max(), self.blank[1:].max())
        for scores in (self.label, self.blank, self.star):
            scores -= best
        self.kept.append(self._row())
        self.offsets.append(self.offsets[-1] + float(best))

    def window(self, row: int, begin: int, stop: int) -> NDArray[np.float32]:
        lane, place = np.divmod(np.arange(begin, stop), self.num_rows)
        result = np.full((3, stop - begin), NEVER)
        result[: len(self.kept[row])] = self.kept[row][:, place, lane]
        return result

    def offset(self, row: int) -> float:
        return self.offsets[row]


class Band:
    """The states within a beam of the best."""

    def __init__(self, text: Text, beam: float) -> None:
        self.text, self.beam = text, np.float32(beam)
        self.states = np.full((3, len(text.symbols)), NEVER)
        self.states[BLANK, 0] = 0.0
        self.first, self.stop = 0, 1
        self.kept = [self._row()]
        self.offsets = [0.0]

    def _row(self) -> tuple[int, NDArray[np.float32]]:
        return self.first, self.states[:, self.first : self.stop].copy()

    def advance(self, emissions: NDArray[np.float32], star_scores: NDArray[np.float32]) -> None:
        text, (blank, label, star) = self.text, self.states
        self.first, self.stop = advance_band(
            emissions,
            star_scores,
            text.symbols,
            text.jump,
            label,
            blank,
            star,
            text.opening,
            text.skip,
            self.beam,
            self.first,
            self.stop,
        )
        band = self.states[:, self.first : self.stop]
        best = band.max()
        band -= best
        self.kept.append(self._row())
        self.offsets.append(self.offsets[-1] + float(best))

    def window(self, row: int, begin: int, stop: int) -> NDArray[np.float32]:
        first, values = self.kept[row]
        result = np.full((3, stop - begin), NEVER)
        low, high = max(begin, first), min(stop, first + values.shape[1])
        if low < high:
            result[:, low - begin : high - begin] = values[:, low - first : high - first]
        return result

    def offset(self, row: int) -> float:
        return self.offsets[row]
