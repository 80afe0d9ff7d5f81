"""The best path of a text through a lecture's frames: forward over all states, then back over the states it can pass.

Legend: T frames, F frames of a block, U units in the text, W units of a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.frame_reader import BLOCK, FrameReader
from lhotse_prep.alignment.search.rows import Rows
from lhotse_prep.alignment.search.states import BLANK, LABEL, NEVER, Block, Path, Scores, Text
from lhotse_prep.alignment.search.viterbi import point_back, walk_back

_BEAM = 400.0  # nats
_FIRST_WINDOW = 256  # units of the first window on the way back through a block


@dataclass(frozen=True)
class Alignment:
    """Where each unit is spoken; a unit that is not spoken has start -1 and end -1."""

    start: NDArray[np.int64]  # (U,) first frame
    end: NDArray[np.int64]  # (U,) one past the last frame
    score: NDArray[np.float64]  # (U,) mean log-prob over its frames; 0 for a unit that is not spoken
    total: float  # log-prob of the whole path
    star: NDArray[np.bool_]  # (T,) frames of speech without text, including pauses in it
    doubtful: NDArray[
        np.bool_
    ]  # (U,) units that may just as well be elsewhere; all False where nothing looked for them
    unsaid: NDArray[np.bool_]  # (U,) units that are probably not spoken, though they may have a time; likewise


def best_path(reader: FrameReader, text: Text) -> Alignment | None:
    """Search forward, then follow the path back; None where no path reaches the end.

    A search within a beam is first: the loss of its path, which is nearly always the best one, bounds the exact search.
    """
    num_units = len(text.symbols) - 1
    rows = Rows(text, beam=_BEAM)
    for block in reader.forward(needs_all_units=not text.may_skip):
        rows.advance(block)
    rows = Rows(text, most_loss=rows.most_loss_of_best())
    for block in reader.forward(needs_all_units=not text.may_skip):
        rows.advance(block)
    num_blocks = reader.num_blocks
    last = rows.window(num_blocks, num_units - 1, num_units + 1)
    unit, state = (num_units - 1, LABEL) if last[LABEL, 0] > last[BLANK, 1] else (num_units, BLANK)
    final = float(max(last[LABEL, 0], last[BLANK, 1]))
    if final <= NEVER / 2:
        return None
    start, end = (np.full(num_units + 1, -1, np.int64) for _ in range(2))
    path = Path(start, end, np.zeros(num_units + 1), np.zeros(reader.num_frames, np.bool_))
    value = final
    for index in range(num_blocks - 1, -1, -1):
        block = reader.block(index)
        value += rows.offset(index + 1) - rows.offset(index)
        first, pointers = _pointers(rows, index, block, text, unit, state, value)
        unit, state = walk_back(pointers, block.emissions, text.symbols, unit, state, first, index * BLOCK, path)
        value = float(rows.window(index, unit, unit + 1)[state, 0])
    score = path.score / np.maximum(end - start, 1)
    total = final + rows.offset(num_blocks)
    return Alignment(start[:-1], end[:-1], score[:-1], total, path.star, *np.zeros((2, num_units), np.bool_))


def _pointers(
    rows: Rows, index: int, block: Block, text: Text, unit: int, state: int, value: float
) -> tuple[int, NDArray[np.int8]]:
    """The first unit of a window of units that ends with `unit`, and the window's back-pointers in a block, (F, 3, W).

    A window is wide enough if it leads to the score `value` that the forward pass gave the block's last state;
    otherwise a wider one is taken.
    """
    width = _FIRST_WINDOW
    while True:
        first, stop = max(0, unit + 1 - width), unit + 1
        states = rows.window(index, first, stop)
        pointers = np.empty((len(block.emissions), 3, stop - first), np.int8)
        part = text._replace(symbols=text.symbols[first:stop], jump=text.jump[first:stop])
        point_back(block, part, Scores(*states), pointers)
        if first == 0 or float(states[state, -1]) >= value - 1e-3 - 1e-6 * abs(value):
            return first, pointers
        width *= 4
