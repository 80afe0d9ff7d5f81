"""The forward pass of CTC Viterbi over a whole text, in compiled steps that a processor does for many units at once.

The last term of `blank'` in `viterbi`, text without speech, makes each state wait for the one before. Therefore the
states are K rows of LANES columns, lanes, unit u in row u % K and lane u // K: the lanes do not wait for one another,
so a row is a few vector instructions; a last sweep carries scores over from lane to lane.

Lanes first..stop - 1 are advanced; all states that are at least `limit` are in them. A lane begins when the one before
leads into it, and ends when all of its states, and those of the lanes before, are below the limit: then nothing leads
into it any more.

Legend: F frames of a block, C symbols, K rows.
"""

from __future__ import annotations

import numba
import numpy as np

from lhotse_prep.alignment.search.states import NEVER, Scores

# At 4310 s, 512 and 2048 take as long, and 256 half as long again; where no state can be left out, 0.87 and 1.25 times.
LANES = 1024
_LOOK = 16  # frames until lanes that may end are looked for again


@numba.njit(cache=True, error_model="numpy")
def advance_lanes(block, text, states, others, lanes, limit, beam):  # pragma: no cover (compiled)
    """Advance the states over a block's frames.

    Args:
      block: the frames.
      text: with symbols and jump of shape (K, LANES).
      states: each (K + 1, LANES), NEVER outside the lanes. Row k + 1 holds the units of row k. Row 0 of label holds the
        last units of the lanes before; row 0 of the others is not used. All three are overwritten.
      others: states of the same shape, NEVER outside the lanes, to be overwritten too; its star is that of `states`.
      lanes: first and stop.
      limit: before the block; it falls by the best log-prob of each frame.
      beam: the limit is raised to this much below the best state; infinite: it is not.
    Returns:
      The states after the last frame, others and lanes as they are then.
    """
    first, stop = lanes
    num_lanes = states.label.shape[1]
    carry, log_probs = np.empty(num_lanes, np.float32), np.empty(num_lanes, np.float32)
    for t in range(block.emissions.shape[0]):
        limit += block.best[t]
        _advance_frame(block, t, text, states, others, (first, stop), log_probs)
        if text.skip < -NEVER:
            stop = _carry_over(others.blank, carry, text.skip, (first, stop), limit)
        stop = _lead_on(others.label, (first, stop), limit)
        states, others = others, states
        if t % _LOOK == _LOOK - 1:
            if beam < np.inf:
                limit = max(limit, _best(states, (first, stop)) - beam)
            first = _end_lanes(states, others, (first, stop), limit)
    return states, others, (first, stop)


@numba.njit(cache=True, error_model="numpy")
def _advance_frame(block, t, text, states, others, lanes, log_probs):  # pragma: no cover (compiled)
    """Advance the lanes from `states` to `others` by frame t, without what is carried from lane to lane."""
    first, stop = lanes
    frame = block.emissions[t]
    for k in range(1, len(states.label)):
        symbols = text.symbols[k - 1, first:stop]
        for i in range(len(symbols)):
            log_probs[i] = frame[symbols[i]]
        star = states.star[k, first:stop]
        _advance_row(
            (log_probs[: stop - first], frame[0], block.star_scores[t]),
            (text.jump[k - 1, first:stop], text.opening, text.skip),
            (states.label[k - 1, first:stop], others.blank[k - 1, first:stop]),
            Scores(states.blank[k, first:stop], states.label[k, first:stop], star),
            Scores(others.blank[k, first:stop], others.label[k, first:stop], star),
        )


@numba.njit(cache=True, error_model="numpy")
def _advance_row(frame, costs, above, old, new):  # pragma: no cover (compiled)
    """Advance one row by one frame.

    A separate function, from 0 to a length and without any look-up: otherwise the compiler would not emit vector
    instructions for it.

    Args:
      frame: log-prob of each unit's symbol, of blank, and of star.
      costs: jump, opening and skip of the text.
      above: the row above: its labels before this frame, and its blanks after it.
      old: the row before this frame.
      new: the row after it; its star is the same array as that of `old`.
    """
    log_probs, blank_score, star_score = frame
    jumps, opening, skip = costs
    label_above, blank_above = above
    old_blank, old_label, star = old
    new_blank, new_label, _ = new
    for i in range(len(log_probs)):
        best = old_label[i] if old_label[i] > old_blank[i] else old_blank[i]
        other = label_above[i] + jumps[i]
        best = best if best > other else other
        new_label[i] = best + log_probs[i]
        best = old_blank[i] if old_blank[i] > label_above[i] else label_above[i]
        other = best - opening
        other = (star[i] if star[i] > other else other) + star_score
        star[i] = other
        best += blank_score
        best = best if best > other else other
        other = blank_above[i] - skip
        new_blank[i] = best if best > other else other


@numba.njit(cache=True, error_model="numpy")
def _carry_over(blank, carry, skip, lanes, limit):  # pragma: no cover (compiled)
    """Let runs of units without speech go on from the end of each lane into the next lanes; return where lanes stop."""
    first, stop = lanes
    num_rows, num_lanes = blank.shape[0] - 1, blank.shape[1]
    last, whole_lane = blank[num_rows], np.float32(num_rows) * skip
    carry[first] = NEVER
    for i in range(first + 1, num_lanes):
        carry[i] = max(last[i - 1], carry[i - 1] - whole_lane)
        if i >= stop:
            if carry[i] - skip < limit:
                break
            stop = i + 1
    for k in range(1, num_rows + 1):
        _raise(blank[k, first:stop], carry[first:stop], np.float32(k) * skip)
    return stop


@numba.njit(cache=True, error_model="numpy")
def _raise(row, carry, cost):  # pragma: no cover (compiled)
    """Raise a row to what is carried into its lanes."""
    for i in range(len(row)):
        other = carry[i] - cost
        row[i] = row[i] if row[i] > other else other


@numba.njit(cache=True, error_model="numpy")
def _lead_on(label, lanes, limit):  # pragma: no cover (compiled)
    """Note the last label of each lane in the next one's row 0; return where lanes stop."""
    first, stop = lanes
    num_rows, num_lanes = label.shape[0] - 1, label.shape[1]
    if stop < num_lanes and label[num_rows, stop - 1] >= limit:
        stop += 1
    label[0, first] = NEVER
    for i in range(first + 1, stop):  # to assign a slice takes two seconds more to compile
        label[0, i] = label[num_rows, i - 1]
    return stop


@numba.njit(cache=True, error_model="numpy")
def _best(states, lanes):  # pragma: no cover (compiled)
    """The best of the lanes' states; a star is never better than its blank."""
    first, stop = lanes
    best = NEVER
    for k in range(1, len(states.label)):
        for i in range(first, stop):
            best = max(best, states.blank[k, i], states.label[k, i])
    return best


@numba.njit(cache=True, error_model="numpy")
def _end_lanes(states, others, lanes, limit):  # pragma: no cover (compiled)
    """Clear the first lanes as long as all of their states are below the limit; return the first that stays."""
    first, stop = lanes
    while first < stop - 1 and _best(states, (first, first + 1)) < limit:
        for scores in (states.blank, states.label, states.star, others.blank, others.label):
            scores[:, first] = NEVER
        first += 1
    return first
