"""Compiled steps of CTC Viterbi (Graves et al., 2006), for `align`.

Unit u of the text has three states: label u, and before it blank u and star u, speech without text. The blank and the
star after the last unit are those of U. In a frame, from the frame before,

  label'[u] = max(label[u], blank[u], label[u - 1] + jump[u]) + log-prob of its symbol
  star'[u] = max(star[u], max(blank[u], label[u - 1]) - opening) + log-prob of star
  blank'[u] = max(max(blank[u], label[u - 1]) + log-prob of blank, star'[u], blank'[u - 1] - skip)

so that a star leads wherever a blank leads. The last term is text without speech. `lanes` has the same steps for whole
texts.

Legend: F frames of a block, C symbols, U units, W units of a window.
"""

from __future__ import annotations

import numba

from lhotse_prep.alignment.search.states import BLANK, LABEL, NEVER, STAR

_STAY, _FROM_BLANK, _FROM_LABEL = 0, 1, 2  # where a state of the best path comes from, in the frame before
_SKIP, _FROM_STAR = 3, 4  # in the same frame


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
