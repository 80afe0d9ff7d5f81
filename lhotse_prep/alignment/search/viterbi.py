"""Compiled steps of CTC Viterbi (Graves et al., 2006), for `align`.

Unit u of the text has three states: label u, and before it blank u and star u, speech without text. The blank and the
star after the last unit are those of U. In a frame, out of the one before,

  label'[u] = max(label[u], blank[u], label[u - 1] + jump[u]) + log-prob of its symbol
  star'[u] = max(star[u], max(blank[u], label[u - 1]) - opening) + log-prob of star
  blank'[u] = max(max(blank[u], label[u - 1]) + log-prob of blank, star'[u], blank'[u - 1] - skip)

so that a star leads on wherever a blank does. The last line's last part, text without speech, makes each state wait for
the one before. Therefore `advance_lanes` stores the states as K rows of LANES columns, unit u in row u % K and column
u // K: the columns do not wait for one another, so a row is a few vector instructions; a last sweep carries scores over
from column to column.

Legend: F frames of a block, C symbols, U units, K rows, W units of a window.
"""

from __future__ import annotations

import numba
import numpy as np

LANES = 256  # a row of 64 took 1.7 times as long, one of 512 0.95
NEVER = np.float32(-1e30)
BLANK, LABEL, STAR = 0, 1, 2  # states of a unit
_STAY, _FROM_BLANK, _FROM_LABEL = 0, 1, 2  # what a state of the best path comes from, in the frame before
_SKIP, _FROM_STAR = 3, 4  # in the same frame


@numba.njit(cache=True, error_model="numpy")
def advance_lanes(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    emissions, star_scores, symbol, jump, label, blank, star, opening, skip, may_skip
):
    """The states after a block's frames.

    Args:
      emissions: (F, C) log-probs; column 0 is blank.
      star_scores: (F,) log-probs of speech without text.
      symbol: (K, LANES) int64, the column of emissions of each unit.
      jump: (K, LANES) 0 where a unit may follow the one before at once, NEVER where it is the same.
      label: (K + 1, LANES); row k + 1 holds the units of row k, row 0 the last units of the columns before.
      blank, star: (K + 1, LANES); row 0 is not used.
      opening: price of a stretch of speech without text; -NEVER: there is none.
      skip: price of a unit without speech.
      may_skip: whether there are such units.
    Returns:
      label and blank after the last frame; those given are overwritten, and star is changed in place.
    """
    num_rows, num_lanes = symbol.shape
    new_label, new_blank = np.empty_like(label), np.empty_like(blank)
    carry, heard = np.empty(num_lanes, np.float32), np.empty(num_lanes, np.float32)
    for t in range(emissions.shape[0]):
        scores = emissions[t]
        new_blank[0, :] = NEVER
        for k in range(1, num_rows + 1):
            symbols = symbol[k - 1]
            for i in range(num_lanes):
                heard[i] = scores[symbols[i]]
            _advance_row(
                heard,
                star_scores[t],
                scores[0],
                opening,
                skip,
                jump[k - 1],
                label[k - 1],
                label[k],
                blank[k],
                star[k],
                new_blank[k - 1],
                new_label[k],
                new_blank[k],
            )
        if may_skip:
            _carry_over(new_blank, carry, skip)
        new_label[0, 0] = NEVER
        new_label[0, 1:] = new_label[num_rows, :-1]
        label, new_label = new_label, label
        blank, new_blank = new_blank, blank
    return label, blank


@numba.njit(cache=True, error_model="numpy")
def _advance_row(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    heard, star_score, blank_score, opening, skip, jumps, before, here, pause, speech, above, to_label, to_blank
):
    """One row in one frame. A function of its own, with no look-up in it: else it is not made of vector instructions.

    Args:
      heard: (LANES,) log-prob of each unit's symbol.
      jumps, before, here, pause, speech: of jump, the labels before, and label, blank and star.
      above: the row before of the new blanks.
      to_label, to_blank: the new rows; speech is changed in place.
    """
    for i in range(len(heard)):
        best = here[i] if here[i] > pause[i] else pause[i]
        other = before[i] + jumps[i]
        best = best if best > other else other
        to_label[i] = best + heard[i]
        best = pause[i] if pause[i] > before[i] else before[i]
        other = best - opening
        other = (speech[i] if speech[i] > other else other) + star_score
        speech[i] = other
        best += blank_score
        best = best if best > other else other
        other = above[i] - skip
        to_blank[i] = best if best > other else other


@numba.njit(cache=True, error_model="numpy")
def _carry_over(blank, carry, skip):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    """Let units without speech go on from the end of each column into the next ones."""
    num_rows, num_lanes = blank.shape[0] - 1, blank.shape[1]
    last, whole_column = blank[num_rows], np.float32(num_rows) * skip
    carry[0] = NEVER
    for i in range(1, num_lanes):
        other = carry[i - 1] - whole_column
        carry[i] = last[i - 1] if last[i - 1] > other else other
    for k in range(1, num_rows + 1):
        row, price = blank[k], np.float32(k) * skip
        for i in range(num_lanes):
            other = carry[i] - price
            row[i] = row[i] if row[i] > other else other


@numba.njit(cache=True, error_model="numpy")
def advance_band(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    emissions, star_scores, symbol, jump, label, blank, star, opening, skip, beam, first, stop
):
    """The states after a block's frames, of units first..stop - 1 only: those within `beam` of the best.

    Args:
      emissions, star_scores, opening, skip: as in advance_lanes.
      symbol, jump: (U + 1,).
      label, blank, star: (U + 1,), changed in place; NEVER outside the band.
      beam: how much less than the best a state may have.
      first, stop: the band.
    Returns:
      first and stop after the last frame.
    """
    num_states = len(label)
    for t in range(emissions.shape[0]):
        stop = min(stop + 1, num_states)  # label stop - 1 leads to one unit more
        _step(
            emissions[t],
            star_scores[t],
            symbol[first:stop],
            jump[first:stop],
            label[first:stop],
            blank[first:stop],
            star[first:stop],
            opening,
            skip,
        )
        best = NEVER
        for u in range(first, stop):
            best = max(best, label[u], blank[u])  # no star is more than its blank
        least = best - beam
        while stop < num_states and blank[stop - 1] - skip >= least:
            blank[stop] = blank[stop - 1] - skip
            stop += 1
        while label[first] < least and blank[first] < least:
            label[first] = blank[first] = star[first] = NEVER
            first += 1
        while label[stop - 1] < least and blank[stop - 1] < least:
            stop -= 1
            label[stop] = blank[stop] = star[stop] = NEVER
    return first, stop


@numba.njit(cache=True, error_model="numpy")
def _step(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    scores, star_score, symbol, jump, label, blank, star, opening, skip
):
    """One frame of some units in a row, in place; nothing comes from the units before them."""
    before, above = NEVER, NEVER
    for u in range(len(label)):
        here, pause = label[u], blank[u]
        label[u] = max(here, pause, before + jump[u]) + scores[symbol[u]]
        pause = max(pause, before)
        star[u] = max(star[u], pause - opening) + star_score
        above = max(pause + scores[0], star[u], above - skip)
        blank[u] = above
        before = here


@numba.njit(cache=True, error_model="numpy")
def point_back(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    emissions, star_scores, symbol, jump, label, blank, star, opening, skip, pointers
):
    """As `_step` for all frames of a block, on W units in a row; fills pointers (F, 3, W): of BLANK, LABEL, STAR.

    Of sources that are equally good a state takes the latest, as torchaudio's forced_align does.
    """
    for t in range(emissions.shape[0]):
        scores, to_blank, to_label, to_star = emissions[t], pointers[t, BLANK], pointers[t, LABEL], pointers[t, STAR]
        before, above = NEVER, NEVER
        for u in range(len(label)):
            here, pause = label[u], blank[u]
            best, source = here, _STAY
            if pause > best:
                best, source = pause, _FROM_BLANK
            if before + jump[u] > best:
                best, source = before + jump[u], _FROM_LABEL
            label[u], to_label[u] = best + scores[symbol[u]], source
            best, source, to_star[u] = pause, _STAY, _FROM_BLANK
            if before > best:
                best, source, to_star[u] = before, _FROM_LABEL, _FROM_LABEL
            opened = best - opening
            if star[u] > opened:
                opened, to_star[u] = star[u], _STAY
            star[u] = opened + star_scores[t]
            best += scores[0]
            if star[u] > best:
                best, source = star[u], _FROM_STAR
            if above - skip > best:
                best, source = above - skip, _SKIP
            blank[u], to_blank[u] = best, source
            above, before = best, here


@numba.njit(cache=True, error_model="numpy")
def walk_back(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
    pointers, emissions, symbol, unit, state, first_unit, first_frame, start, end, score, star
):
    """Follow a block's pointers from its last frame's state, and note where the units on the way are.

    Args:
      pointers: (F, 3, W), of units first_unit.. in order.
      emissions: (F, C).
      symbol: (U + 1,).
      unit, state: those of the block's last frame.
      first_unit: which unit the window begins with.
      first_frame: which frame the block begins with.
      start, end, score: (U,), -1, -1 and 0 for units that the path has not met; score sums log-probs.
      star: (T,) set where the path has speech without text.
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
            star[first_frame + t] = True
        elif state == LABEL:
            start[unit] = first_frame + t
            if end[unit] < 0:
                end[unit] = first_frame + t + 1
            score[unit] += emissions[t, symbol[unit]]
        if source == _FROM_LABEL:
            unit, state = unit - 1, LABEL
        elif source == _FROM_BLANK:
            state = BLANK
    return unit, state
