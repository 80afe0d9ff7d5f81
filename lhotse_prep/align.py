"""Frame log-probs + unit ids -> unit times: exact CTC Viterbi over a whole lecture, in little memory.

States are blank, u1, blank, u2, ..., uU, blank (Graves et al., 2006). Only every 512th row of scores is kept; the
back-trace makes the back-pointers of one block at a time, so memory grows with S * 512 + S * T / 512, not with S * T.

Legend: T frames, V units with blank, U units in the text, S = 2U + 1 states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lhotse_prep.errors import DataError

BLOCK = 512  # frames between kept rows
_NEVER = np.float32(-1e30)
_STAY, _NEXT, _JUMP, _SKIP = 0, 1, 2, 3


@dataclass(frozen=True)
class Alignment:
    """Where each unit is; a unit that was not spoken has start -1 and end -1."""

    start: NDArray[np.int64]  # (U,) first frame
    end: NDArray[np.int64]  # (U,) one past the last frame
    score: NDArray[np.float64]  # (U,) mean log-prob over its frames; 0 for one not spoken
    total: float  # log-prob of the whole path


def align(
    log_probs: NDArray[np.float32],
    units: NDArray[np.int64],
    lecture: str = "?",
    star_penalty: float | None = None,
    skip_cost: float | None = None,
) -> Alignment:
    """The best path of the units through the frames.

    Args:
      log_probs: (T, V), float32, blank is column 0.
      units: (U,) ids of the text.
      lecture: named in errors.
      star_penalty: speech with no text may pass as blank, at the frame's best log-prob less this; None: it may not.
      skip_cost: a unit may be left unspoken at this cost; None: it may not.
    Raises:
      DataError: empty text, no frames, more units than frames, an id outside the vocabulary, log-probs not finite.
    """
    num_frames, num_symbols = log_probs.shape
    if len(units) == 0:
        raise DataError(f"lecture {lecture}: its transcript is empty, there is nothing to align")
    if num_frames == 0:
        raise DataError(f"lecture {lecture}: it has no frames; is the recording empty?")
    outside = units[(units < 1) | (units >= num_symbols)]
    if len(outside):
        raise DataError(f"lecture {lecture}: unit {outside[0]} is outside the model's vocabulary 1..{num_symbols - 1}")
    repeats = int((units[1:] == units[:-1]).sum())
    if skip_cost is None and len(units) + repeats > num_frames:
        raise DataError(
            f"lecture {lecture}: {len(units)} units (and {repeats} repeats) do not fit into {num_frames} frames; "
            "is this the transcript of another recording?"
        )
    if not np.isfinite(log_probs).all():
        raise DataError(f"lecture {lecture}: the aligner's log-probs are not finite; is the audio damaged?")
    blank = log_probs[:, 0].copy()
    if star_penalty is not None:
        blank = np.maximum(blank, log_probs.max(axis=1) - np.float32(star_penalty))
    skip = np.float32(1e30 if skip_cost is None else skip_cost)
    rows = _forward(log_probs, blank, units, skip)
    states, total = _trace_back(log_probs, blank, units, skip, rows)
    if total <= _NEVER / 2:
        raise DataError(f"lecture {lecture}: no alignment exists; is this the transcript of another recording?")
    start, end, score = _unit_spans(log_probs, units, states)
    return Alignment(start, end, score, float(total))


def drop_islands(alignment: Alignment, min_units: int, isolation: int) -> Alignment:
    """Untime runs of fewer than min_units spoken units that stand more than `isolation` frames from all others.

    Where no run has as many, all stay: there is nothing that they would be strays from.
    """
    start, end, score = alignment.start.copy(), alignment.end.copy(), alignment.score.copy()
    spoken = np.flatnonzero(start >= 0)
    gaps = start[spoken[1:]] - end[spoken[:-1]]
    runs = np.split(spoken, np.flatnonzero(gaps > isolation) + 1)
    if max(len(run) for run in runs) < min_units:
        return alignment
    for run in runs:
        if len(run) < min_units:
            start[run], end[run], score[run] = -1, -1, 0.0
    return Alignment(start, end, score, alignment.total)


@numba.njit(cache=True)
def _step(previous, row, pointers, log_probs_t, blank_t, units, skip):  # pragma: no cover (compiled)
    """One frame: row (S,) from previous (S,); pointers (S,) int8 are filled where given (length S, not 0)."""
    num_states = 2 * len(units) + 1
    keep = len(pointers) > 0
    for s in range(num_states):
        best, pointer = previous[s], _STAY
        if s >= 1 and previous[s - 1] > best:
            best, pointer = previous[s - 1], _NEXT
        if s % 2 == 1:
            u = s // 2
            if u >= 1 and units[u] != units[u - 1] and previous[s - 2] > best:
                best, pointer = previous[s - 2], _JUMP
            row[s] = best + log_probs_t[units[u]]
        else:
            row[s] = best + blank_t
            # from the blank before to this one, within the frame: the unit between is not spoken
            if s >= 2 and row[s - 2] - skip > row[s]:
                row[s], pointer = row[s - 2] - skip, _SKIP
        if keep:
            pointers[s] = pointer


@numba.njit(cache=True)
def _first_row(log_probs_0, blank_0, units, skip):  # pragma: no cover (compiled)
    row = np.full(2 * len(units) + 1, _NEVER, np.float32)
    row[0] = blank_0
    for s in range(2, len(row), 2):
        row[s] = max(row[s - 2] - skip, _NEVER)
    row[1] = log_probs_0[units[0]]
    return row


@numba.njit(cache=True)
def _forward(log_probs, blank, units, skip):  # pragma: no cover (compiled)
    """Rows at frames 0, BLOCK, 2 BLOCK, ... and the last; the best score of a kept row is shifted to 0."""
    num_frames = log_probs.shape[0]
    num_states = 2 * len(units) + 1
    num_kept = (num_frames - 1) // BLOCK + 1
    kept = np.empty((num_kept + 1, num_states), np.float32)
    shifts = np.zeros(num_kept + 1, np.float64)
    none = np.empty(0, np.int8)
    row = _first_row(log_probs[0], blank[0], units, skip)
    other = np.empty_like(row)
    total_shift = 0.0
    kept[0] = row
    for t in range(1, num_frames):
        _step(row, other, none, log_probs[t], blank[t], units, skip)
        row, other = other, row
        if t % BLOCK == 0:  # float32 keeps its precision only near zero
            shift = row.max()
            row -= shift
            total_shift += shift
            kept[t // BLOCK] = row
            shifts[t // BLOCK] = total_shift
    kept[num_kept] = row
    shifts[num_kept] = total_shift
    return kept, shifts


@numba.njit(cache=True)
def _trace_back(log_probs, blank, units, skip, rows):  # pragma: no cover (compiled)
    """The state of each frame, (T,) int64, and the score of the path."""
    kept, shifts = rows
    num_frames = log_probs.shape[0]
    num_states = 2 * len(units) + 1
    last = kept[-1]
    state = num_states - 1 if last[num_states - 1] >= last[num_states - 2] else num_states - 2
    total = last[state] + shifts[-1]
    states = np.empty(num_frames, np.int64)
    pointers = np.empty((BLOCK, num_states), np.int8)
    other = np.empty(num_states, np.float32)
    for block in range((num_frames - 1) // BLOCK, -1, -1):
        begin, stop = block * BLOCK, min((block + 1) * BLOCK, num_frames - 1)
        row = kept[block].copy()
        for t in range(begin + 1, stop + 1):
            _step(row, other, pointers[t - begin - 1], log_probs[t], blank[t], units, skip)
            row, other = other, row
        for t in range(stop, begin, -1):
            while pointers[t - begin - 1, state] == _SKIP:
                state -= 2
            states[t] = state
            pointer = pointers[t - begin - 1, state]
            state -= pointer  # _STAY 0, _NEXT 1, _JUMP 2 states back
    states[0] = state
    return states, total


@numba.njit(cache=True)
def _unit_spans(log_probs, units, states):  # pragma: no cover (compiled)
    num_units = len(units)
    start = np.full(num_units, -1, np.int64)
    end = np.full(num_units, -1, np.int64)
    score = np.zeros(num_units, np.float64)
    for t in range(len(states)):
        if states[t] % 2 == 1:
            u = states[t] // 2
            if start[u] < 0:
                start[u] = t
            end[u] = t + 1
            score[u] += log_probs[t, units[u]]
    for u in range(num_units):
        if start[u] >= 0:
            score[u] /= end[u] - start[u]
    return start, end, score
