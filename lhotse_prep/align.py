"""Frame log-probs + unit ids -> unit times: exact CTC Viterbi over a whole lecture, in little memory and time.

Only every 512th row of scores is kept. The way back makes the back-pointers of one block at a time, and only of the
units that the path can have passed in it, so memory grows with U * T / 512.

Legend: T frames, V symbols with blank (0), U units in the text, C different symbols in the text, with blank.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.errors import DataError
from lhotse_prep.frames import BLOCK, FrameReader
from lhotse_prep.viterbi import BLANK, LABEL, LANES, NEVER, advance_band, advance_lanes, point_back, walk_back

logger = logging.getLogger(__name__)
BEAM_CHECK = 4  # a beam is trusted where one so many times as wide finds the same path
_FIRST_WINDOW = 256  # units looked at on the way back through a block, at first


@dataclass(frozen=True)
class Alignment:
    """Where each unit is; a unit that was not spoken has start -1 and end -1."""

    start: NDArray[np.int64]  # (U,) first frame
    end: NDArray[np.int64]  # (U,) one past the last frame
    score: NDArray[np.float64]  # (U,) mean log-prob over its frames; 0 for one not spoken
    total: float  # log-prob of the whole path
    star: NDArray[np.bool_]  # (T,) frames of speech without text

    def same_places(self, other: Alignment) -> bool:
        """Whether the other has every unit in the same frames."""
        return np.array_equal(self.start, other.start) and np.array_equal(self.end, other.end)


def align(
    log_probs: NDArray[np.floating] | Iterable[NDArray[np.floating]],
    units: NDArray[np.int64],
    lecture: str = "?",
    star_penalty: float | None = None,
    star_opening: float = 0.0,
    skip_cost: float | None = None,
    mismatch_penalty: float | None = None,
    beam: float | None = None,
) -> Alignment:
    """The best path of the units through the frames.

    Args:
      log_probs: (T, V), float32 or float16, an array or memory map, of which a block is copied at a time; or blocks
        (F, V) of it in order, of any lengths, which are read once (their columns that the text needs wait in a
        temporary file for the way back). Blank is column 0.
      units: (U,) ids of the text.
      lecture: named in errors.
      star_penalty: there may be speech without text, at each frame's best log-prob less this; None: there is none.
      star_opening: and each stretch of it costs this more. Where it is 0, a unit beside a long stretch may as well be
        anywhere within it.
      skip_cost: a unit may be left unspoken at this cost; None: it may not.
      mismatch_penalty: a unit may be spoken as another, at the log-prob of the frame's best unit less this; None: it
        may not. Between star_penalty and star_penalty + star_opening + skip_cost, a wrong unit of the text is timed
        where there is speech in its place that has no text of its own.
      beam: drop states whose log-prob is so much less than the best of their frame; time and memory are then linear
        in the length of the lecture. The path counts where a beam `BEAM_CHECK` times as wide finds the same; where
        it does not, or no path reaches the end, the search is done again without. None: exact at once.
    Raises:
      DataError: empty text, no frames, more units than frames, an id outside the vocabulary, log-probs not finite.
    """
    if len(units) == 0:
        raise DataError(f"lecture {lecture}: its transcript is empty, there is nothing to align")
    units = np.asarray(units, dtype=np.int64)
    with FrameReader(log_probs, units, lecture, star_penalty, mismatch_penalty) as reader:
        text = _Text.of(reader.symbols, None if star_penalty is None else star_opening, skip_cost)
        if beam is not None:
            paths = [_search(reader, text, _Band(text, width)) for width in (beam, BEAM_CHECK * beam)]
            if paths[0] is not None and paths[1] is not None and paths[0].same_places(paths[1]):
                return paths[1]
            logger.info("lecture %s: a beam of %g may have lost the best path; searching without", lecture, beam)
        path = _search(reader, text, _Lanes(text))
    if path is None:
        raise DataError(f"lecture {lecture}: no alignment exists; is this the transcript of another recording?")
    return path


@dataclass(frozen=True)
class _Text:
    """The units as the search sees them; position U stands for the end of the text."""

    symbols: NDArray[np.int64]  # (U + 1,) columns of the reader's blocks
    jump: NDArray[np.float32]  # (U + 1,) 0, or NEVER where a blank must come before
    opening: np.float32
    skip: np.float32
    may_star: bool
    may_skip: bool

    @classmethod
    def of(cls, symbols: NDArray[np.int64], star_opening: float | None, skip_cost: float | None) -> _Text:
        symbols = np.append(symbols, 0)
        jump = np.where(symbols == np.roll(symbols, 1), NEVER, np.float32(0))
        jump[0] = NEVER
        opening, skip = (-NEVER if cost is None else np.float32(cost) for cost in (star_opening, skip_cost))
        return cls(symbols, jump, opening, skip, star_opening is not None, skip_cost is not None)


class _Rows(Protocol):
    """Scores of all states, advanced a block at a time; row b is that before block b."""

    def advance(self, emissions: NDArray[np.float32], star_scores: NDArray[np.float32]) -> None:
        """Go through a block's frames, and keep the row after them."""

    def window(self, row: int, begin: int, stop: int) -> NDArray[np.float32]:
        """A copy of the scores of units begin..stop - 1 in a kept row, (3, W): BLANK, LABEL and STAR."""

    def offset(self, row: int) -> float:
        """What has been taken off the scores of a kept row, so that float32 keeps its precision near zero."""


class _Lanes:
    """All states."""

    def __init__(self, text: _Text) -> None:
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
            emissions, star_scores, self.symbols, self.jump, self.label, self.blank, self.star, text.opening, text.skip,
            text.may_skip,
        )  # fmt: skip
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


class _Band:
    """The states within a beam of the best."""

    def __init__(self, text: _Text, beam: float) -> None:
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
            emissions, star_scores, text.symbols, text.jump, label, blank, star, text.opening, text.skip, self.beam,
            self.first, self.stop,
        )  # fmt: skip
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


def _search(reader: FrameReader, text: _Text, rows: _Rows) -> Alignment | None:
    """Forward and back; None where no path reaches the end."""
    num_units = len(text.symbols) - 1
    for emissions, star_scores in reader.forward(needs_all_units=not text.may_skip):
        rows.advance(emissions, star_scores)
    num_blocks = reader.num_blocks
    last = rows.window(num_blocks, num_units - 1, num_units + 1)
    unit, state = (num_units - 1, LABEL) if last[LABEL, 0] > last[BLANK, 1] else (num_units, BLANK)
    final = float(max(last[LABEL, 0], last[BLANK, 1]))
    if final <= NEVER / 2:
        return None
    start, end = (np.full(num_units + 1, -1, np.int64) for _ in range(2))
    score, star = np.zeros(num_units + 1), np.zeros(reader.num_frames, np.bool_)
    value = final
    for block in range(num_blocks - 1, -1, -1):
        emissions, star_scores = reader.block(block)
        value += rows.offset(block + 1) - rows.offset(block)
        first, pointers = _pointers(rows, block, emissions, star_scores, text, unit, state, value)
        unit, state = walk_back(
            pointers, emissions, text.symbols, unit, state, first, block * BLOCK, start, end, score, star
        )
        value = float(rows.window(block, unit, unit + 1)[state, 0])
    score /= np.maximum(end - start, 1)
    return Alignment(start[:-1], end[:-1], score[:-1], final + rows.offset(num_blocks), star)


def _pointers(
    rows: _Rows, block: int, emissions: NDArray[np.float32], star_scores: NDArray[np.float32], text: _Text, unit: int,
    state: int, value: float,
) -> tuple[int, NDArray[np.int8]]:  # fmt: skip
    """Back-pointers of a block for the units that end with `unit`, and which unit they begin with.

    They are enough where they lead to the score `value` that the way forward gave the block's last state; else more
    units are taken.
    """
    width = _FIRST_WINDOW
    while True:
        first, stop = max(0, unit + 1 - width), unit + 1
        blank, label, star = states = rows.window(block, first, stop)
        pointers = np.empty((len(emissions), 3, stop - first), np.int8)
        point_back(
            emissions, star_scores, text.symbols[first:stop], text.jump[first:stop], label, blank, star, text.opening,
            text.skip, pointers,
        )  # fmt: skip
        found = float(states[state, -1])
        if first == 0 or found >= value - 1e-3 - 1e-6 * abs(value):
            return first, pointers
        width *= 4
