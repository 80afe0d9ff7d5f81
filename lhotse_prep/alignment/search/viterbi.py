"""Compiled steps of CTC Viterbi (Graves et al., 2006), for `align`.

Unit u of the text has three states: label u, and before it blank u and star u, speech without text. The blank and the
star after the last unit are those of U. In a frame, from the frame before,

  label'[u] = max(label[u], blank[u], label[u - 1] + jump[u]) + log-prob of its symbol
  star'[u] = max(star[u], max(blank[u], label[u - 1]) - opening) + log-prob of star
  blank'[u] = max(max(blank[u], label[u - 1]) + log-prob of blank, star'[u], blank'[u - 1] - skip)

so that a star leads wherever a blank leads. The last term, text without speech, makes each state wait for the one
before. Therefore `advance_lanes` stores the states as K rows of LANES columns, unit u in row u % K and column u // K:
the columns do not wait for one another, so a row is a few vector instructions; a last sweep carries scores over from
column to column.

Legend: F frames of a block, C symbols, U units, K rows, W units of a window.
"""

from __future__ import annotations

import numba
import numpy as np

from lhotse_prep.alignment.search.states import BLANK, LABEL, NEVER, STAR, Scores

LANES = 256  # a row of 64 took 1.7 times as long, one of 512 0.95
_STAY, _FROM_BLANK, _FROM_LABEL = 0, 1, 2  # where a state of the best path comes from, in the frame before
_SKIP, _FROM_STAR = 3, 4  # in the same frame


@numba.njit(cache=True, error_model="numpy")
def advance_lanes(block, text, states):  # pragma: no cover (compiled)
    """Advance the states over a block's frames.

    Args:
      block: the frames.
      text: with symbols and jump of shape (K, LANES).
      states: each (K + 1, LANES). Row k + 1 holds the units of row k. Row 0 of label holds the last units of the
        columns before; row 0 of the others is not used. All three are overwritten.
    Returns:
      The states after the last frame.
    """
    emissions, star_scores = block
    label, blank, star = states.label, states.blank, states.star
    num_rows, num_lanes = text.symbols.shape
    new_label, new_blank = np.empty_like(label), np.empty_like(blank)
    carry, log_probs = np.empty(num_lanes, np.float32), np.empty(num_lanes, np.float32)
    for t in range(emissions.shape[0]):
        frame = emissions[t]
        new_blank[0, :] = NEVER
        for k in range(1, num_rows + 1):
            symbols = text.symbols[k - 1]
            for i in range(num_lanes):
                log_probs[i] = frame[symbols[i]]
            _advance_row(
                (log_probs, frame[0], star_scores[t]),
                (text.jump[k - 1], text.opening, text.skip),
                (label[k - 1], new_blank[k - 1]),
                Scores(blank[k], label[k], star[k]),
                Scores(new_blank[k], new_label[k], star[k]),
            )
        if text.skip < -NEVER:
            _carry_over(new_blank, carry, text.skip)
        new_label[0, 0] = NEVER
        new_label[0, 1:] = new_label[num_rows, :-1]
        label, new_label = new_label, label
        blank, new_blank = new_blank, blank
    return Scores(blank, label, star)


@numba.njit(cache=True, error_model="numpy")
def _advance_row(frame, costs, above, old, new):  # pragma: no cover (compiled)
    """Advance one row by one frame.

    A separate function without any look-up: otherwise the compiler would not emit vector instructions for it.

    Args:
      frame: log-prob of each unit's symbol (LANES,), of blank, and of star.
      costs: jump (LANES,), opening and skip of the text.
      above: the row above, (LANES,) each: its labels before this frame, and its blanks after it.
      old: the row before this frame, (LANES,) each.
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
def _carry_over(blank, carry, skip):  # pragma: no cover (compiled)
    """Let runs of units without speech go on from the end of each column into the next columns."""
    num_rows, num_lanes = blank.shape[0] - 1, blank.shape[1]
    last, whole_column = blank[num_rows], np.float32(num_rows) * skip
    carry[0] = NEVER
    for i in range(1, num_lanes):
        other = carry[i - 1] - whole_column
        carry[i] = last[i - 1] if last[i - 1] > other else other
    for k in range(1, num_rows + 1):
        row, cost = blank[k], np.float32(k) * skip
        for i in range(num_lanes):
            other = carry[i] - cost
            row[i] = row[i] if row[i] > other else other


@numba.njit(cache=True, error_model="numpy")
def advance(block, text, states):  # pragma: no cover (compiled)
    """Advance the states of a few units over a block's frames.

    Args:
      block: the frames.
      text: with symbols and jump of shape (U + 1,).
      states: each (U + 1,), changed in place.
    """
    for t in range(block.emissions.shape[0]):
        _step(block.emissions[t], block.star_scores[t], text, states)


@numba.njit(cache=True, error_model="numpy")
def _step(frame, star_score, text, states):  # pragma: no cover (compiled)
    """Advance the states by one frame, in place."""
    blank, label, star = states
    label_above, blank_above = NEVER, NEVER
    for u in range(len(label)):
        old_label, best = label[u], blank[u]
        label[u] = max(old_label, best, label_above + text.jump[u]) + frame[text.symbols[u]]
        best = max(best, label_above)
        star[u] = max(star[u], best - text.opening) + star_score
        blank_above = max(best + frame[0], star[u], blank_above - text.skip)
        blank[u] = blank_above
        label_above = old_label


@numba.njit(cache=True, error_model="numpy")
def point_back(block, text, states, pointers):  # pragma: no cover (compiled)
    """Do what `_step` does for all frames of a block, on W units in a row; fill pointers (F, 3, W): BLANK, LABEL, STAR.

    Of equally good sources a state takes the latest, as torchaudio's forced_align does.
    """
    blank, label, star = states
    for t in range(block.emissions.shape[0]):
        frame = block.emissions[t]
        to_blank, to_label, to_star = pointers[t, BLANK], pointers[t, LABEL], pointers[t, STAR]
        label_above, blank_above = NEVER, NEVER
        for u in range(len(label)):
            old_label, old_blank = label[u], blank[u]
            best, source = old_label, _STAY
            if old_blank > best:
                best, source = old_blank, _FROM_BLANK
            if label_above + text.jump[u] > best:
                best, source = label_above + text.jump[u], _FROM_LABEL
            label[u], to_label[u] = best + frame[text.symbols[u]], source
            best, source, to_star[u] = old_blank, _STAY, _FROM_BLANK
            if label_above > best:
                best, source, to_star[u] = label_above, _FROM_LABEL, _FROM_LABEL
            opened = best - text.opening
            if star[u] > opened:
                opened, to_star[u] = star[u], _STAY
            star[u] = opened + block.star_scores[t]
            best += frame[0]
            if star[u] > best:
                best, source = star[u], _FROM_STAR
            if blank_above - text.skip > best:
                best, source = blank_above - text.skip, _SKIP
            blank[u], to_blank[u] = best, source
            blank_above, label_above = best, old_label


@numba.njit(cache=True, error_model="numpy")
def walk_back(  # pragma: no cover (compiled)
    pointers, emissions, symbols, unit, state, first_unit, first_frame, path
):
    """Follow a block's pointers back from the state in its last frame, and note where the path passes.

    Args:
      pointers: (F, 3, W), of units first_unit.. in order.
      emissions: (F, C).
      symbols: (U + 1,), of the text.
      unit, state: those of the block's last frame.
      first_unit: the first unit of the window.
      first_frame: the first frame of the block.
      path: changed in place.
    Returns:
      unit and state in the frame before the block.
    """
    for t in range(len(pointers) - 1, -1, -1):
        source = pointers[t, state, unit - first_unit]
        while source == _SKIP:
            unit -= 1
            source = pointers[t, BLANK, unit - first_unit]
        if source == _FROM_STAR:
            state = STAR
            source = pointers[t, STAR, unit - first_unit]
        if state == STAR:
            path.star[first_frame + t] = True
        elif state == LABEL:
            path.start[unit] = first_frame + t
            if path.end[unit] < 0:
                path.end[unit] = first_frame + t + 1
            path.score[unit] += emissions[t, symbols[unit]]
        if source == _FROM_LABEL:
            unit, state = unit - 1, LABEL
        elif source == _FROM_BLANK:
            state = BLANK
    return unit, state
