"""Log-probs of a lecture, read a block of frames at a time: forward once, then block by block on the way back.

Legend: T frames, V symbols with blank (0), F frames of a block, C different symbols in the text, with blank.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.search.states import NEVER, Block
from lhotse_prep.workflow.errors import DataError

BLOCK = 1024  # frames between kept rows


class _FrameScores(NamedTuple):
    """What is kept of each frame of a block, (F,) each."""

    star_scores: NDArray[np.float32]
    best: NDArray[np.float32]
    least: NDArray[np.float32] | None  # of any unit; None: nothing


class FrameReader:
    """Blocks of BLOCK frames, with the columns that a text needs."""

    symbols: NDArray[np.int64]  # (U,) the text's units as columns of a block, 1..C - 1; 0 is blank
    num_frames: int  # known after the forward pass

    def __init__(
        self,
        log_probs: NDArray[np.floating] | Iterable[NDArray[np.floating]],
        units: NDArray[np.int64],
        lecture: str,
        star_penalty: float | None,
        mismatch_penalty: float | None,
    ) -> None:
        """
        Args:
          log_probs: (T, V), or blocks of it.
          units: (U,), U > 0, ids in 1..V - 1.
          lecture: named in errors.
          star_penalty: speech without text gets the frame's best log-prob minus this, and at least that of blank;
            None: no speech without text.
          mismatch_penalty: each unit gets at least the best unit's log-prob minus this; None: its own.
        """
        self.units, self.lecture = units, lecture
        self.star_penalty, self.mismatch_penalty = star_penalty, mismatch_penalty
        columns, symbols = np.unique(units, return_inverse=True)
        self.columns, self.symbols = np.append(0, columns), symbols.reshape(-1).astype(np.int64) + 1
        self.array = log_probs if isinstance(log_probs, np.ndarray) else None
        self._blocks = None if isinstance(log_probs, np.ndarray) else iter(log_probs)
        self._spool: IO[bytes] | None = None
        self._scores: list[_FrameScores] = []
        self.num_frames = 0

    def __enter__(self) -> FrameReader:
        return self

    def __exit__(self, *error: object) -> None:
        if self._spool is not None:
            self._spool.close()

    @property
    def num_blocks(self) -> int:
        """How many blocks the forward pass has read."""
        return len(self._scores)

    def forward(self, needs_all_units: bool) -> Iterator[Block]:
        """Every block in order.

        Args:
          needs_all_units: whether each unit needs a frame.
        Raises:
          DataError: wrong shape or type, no frames, too few frames, an id outside the vocabulary, values not finite.
        """
        if self._scores:  # a second forward pass: everything is checked and stored
            yield from map(self.block, range(self.num_blocks))
            return
        if self.array is not None:
            self._check_shape(self.array)
            self._check_count(len(self.array), needs_all_units)
        for whole in self._whole_blocks():
            block, least = self._read(whole)
            if self._blocks is not None:
                self._spool = self._spool or tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
                self._spool.write(block.emissions.tobytes())
            self._scores.append(_FrameScores(block.star_scores, block.best, least))
            self.num_frames += len(whole)
            yield block
        self._check_count(self.num_frames, needs_all_units)

    def block(self, index: int) -> Block:
        """Read a block again that the forward pass has read."""
        return self._reread(index, 0, BLOCK)

    def frames(self, begin: int, finish: int, columns: NDArray[np.int64]) -> Block:
        """Read frames begin..finish - 1 again, with the given columns of a block's emissions: (F, len(columns))."""
        assert 0 <= begin < finish <= self.num_frames
        parts = []
        for index in range(begin // BLOCK, -(-finish // BLOCK)):
            part = self._reread(index, max(begin - index * BLOCK, 0), min(finish - index * BLOCK, BLOCK))
            parts.append(part._replace(emissions=np.take(part.emissions, columns, axis=1)))
        return Block(*(np.concatenate(x) for x in zip(*parts, strict=True)))

    def _reread(self, index: int, first: int, stop: int) -> Block:
        """Frames first..stop - 1 of a block that the forward pass has read; its last one is shorter."""
        star_scores, best, least = (x if x is None else x[first:stop] for x in self._scores[index])
        assert star_scores is not None and best is not None
        begin = index * BLOCK + first
        if self.array is not None:
            return Block(self._emissions(self.array[begin : begin + len(best)], least), star_scores, best)
        assert self._spool is not None
        num_columns = len(self.columns)
        self._spool.seek(begin * num_columns * 4)
        # writable, as other blocks are: for read-only arrays, numba would compile the search anew
        data = bytearray(self._spool.read(len(best) * num_columns * 4))
        return Block(np.frombuffer(data, np.float32).reshape(-1, num_columns), star_scores, best)

    def _emissions(self, whole: NDArray[np.floating], least: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """(F, V) -> (F, C) of the text's units, at least (F,) `least`."""
        result: NDArray[np.float32] = np.take(np.asarray(whole), self.columns, axis=1).astype(np.float32, copy=False)
        if least is not None:
            np.maximum(result[:, 1:], least[:, None], out=result[:, 1:])
        return result

    def _read(self, whole: NDArray[np.floating]) -> tuple[Block, NDArray[np.float32] | None]:
        """Check some frames (F, V), and take what the text needs of them; also the least log-probs of their units."""
        best_unit = whole[:, 1:].max(axis=1).astype(np.float32)
        best = np.maximum(best_unit, whole[:, 0]).astype(np.float32)
        if not (np.isfinite(best).all() and np.isfinite(whole.min())):
            raise DataError(
                f"lecture {self.lecture}: the model's log-probs are not finite between frames {self.num_frames} and "
                f"{self.num_frames + len(whole)}; is the audio damaged?"
            )
        least = None if self.mismatch_penalty is None else best_unit - np.float32(self.mismatch_penalty)
        emissions = self._emissions(whole, least)
        if self.star_penalty is None:
            return Block(emissions, np.full(len(best), NEVER), best), least
        return Block(emissions, np.maximum(emissions[:, 0], best - np.float32(self.star_penalty)), best), least

    def _whole_blocks(self) -> Iterator[NDArray[np.floating]]:
        """The frames in blocks of BLOCK, the last one shorter."""
        if self.array is not None:
            for begin in range(0, len(self.array), BLOCK):
                yield self.array[begin : begin + BLOCK]
            return
        assert self._blocks is not None
        waiting: list[NDArray[np.floating]] = []
        count = 0
        for piece in self._blocks:
            self._check_shape(piece)
            while len(piece):
                waiting.append(piece[: BLOCK - count])
                piece = piece[len(waiting[-1]) :]
                count += len(waiting[-1])
                if count == BLOCK:
                    yield np.concatenate(waiting)
                    waiting, count = [], 0
        if count:
            yield np.concatenate(waiting)

    def _check_shape(self, log_probs: NDArray[np.floating]) -> None:
        if log_probs.ndim != 2 or log_probs.dtype not in (np.float16, np.float32):
            raise DataError(
                f"lecture {self.lecture}: log-probs of shape {log_probs.shape} and type {log_probs.dtype}; "
                "expected (frames, symbols) in float32 or float16"
            )
        num_symbols = log_probs.shape[1]
        outside = self.units[(self.units < 1) | (self.units >= num_symbols)]
        if len(outside):
            raise DataError(
                f"lecture {self.lecture}: unit {outside[0]} is outside the model's vocabulary 1..{num_symbols - 1}; "
                "take the tokens that the model was trained with"
            )

    def _check_count(self, num_frames: int, needs_all_units: bool) -> None:
        if num_frames == 0:
            raise DataError(f"lecture {self.lecture}: it has no frames; is the recording empty?")
        repeats = int((self.units[1:] == self.units[:-1]).sum())
        if needs_all_units and len(self.units) + repeats > num_frames:
            raise DataError(
                f"lecture {self.lecture}: {len(self.units)} units (and {repeats} repeats) do not fit into {num_frames} "
                "frames; is this the transcript of another recording?"
            )
