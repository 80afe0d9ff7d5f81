"""The best path of a text through a lecture's frames: forward over all states, back over those that it can have passed.

Legend: T frames, U units in the text, W units of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.frame_reader import BLOCK, FrameReader
from lhotse_prep.alignment.search.rows import Rows, Text
from lhotse_prep.alignment.search.viterbi import BLANK, LABEL, NEVER, point_back, walk_back

_FIRST_WINDOW = 256  # units looked at on the way back through a block, at first


@dataclass(frozen=True)
class Alignment:
    """Where each unit is; a unit that was not spoken has start -1 and end -1."""

    start: NDArray[np.int64]  # (U,) first frame
    end: NDArray[np.int64]  # (U,) one past the last frame
    score: NDArray[np.float64]  # (U,) mean log-prob over its frames; 0 for one not spoken
    total: float  # log-prob of the whole path
    star: NDArray[np.bool_]  # (T,) frames of speech without text, with pauses in it
    doubtful: NDArray[np.bool_]  # (U,) units that may as well be elsewhere, where that was looked for

    def same_places(self, other: Alignment) -> bool:
        """Whether the other has every unit, and speech without text, in the same frames."""
        return all(np.array_equal(getattr(self, x), getattr(other, x)) for x in ("start", "end", "star"))


def best_path(reader: FrameReader, text: Text, rows: Rows) -> Alignment | None:
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
    total, doubtful = final + rows.offset(num_blocks), np.zeros(num_units, np.bool_)
    return Alignment(start[:-1], end[:-1], score[:-1], total, star, doubtful)


def _pointers(
    rows: Rows,
    block: int,
    emissions: NDArray[np.float32],
    star_scores: NDArray[np.float32],
    text: Text,
    unit: int,
    state: int,
    value: float,
) -> tuple[int, NDArray[np.int8]]:
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
            emissions,
            star_scores,
            text.symbols[first:stop],
            text.jump[first:stop],
            label,
            blank,
            star,
            text.opening,
            text.skip,
            pointers,
        )
        found = float(states[state, -1])
        if first == 0 or found >= value - 1e-3 - 1e-6 * abs(value):
            return first, pointers
        width *= 4
