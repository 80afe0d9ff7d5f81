"""Passages of a transcript that are not what is said where they were placed.

The search may read a word as another one, since transcripts have wrong words. So it places even a paragraph that is
said elsewhere, or nowhere, onto speech that has no text. Of such a paragraph, the model recognises few words: those
that it recognises by chance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BY_CHANCE = 0.25  # part of the words recognised where others are said (measured: 0.17 to 0.31)
_MOST, _LEAST = 0.9, 0.35  # part recognised of a right text: more proves no more; with less, nothing can be told
_CHANGE = 7.0  # nats that it costs to change between right and wrong text


def wrong_passages(recognised: NDArray[np.bool_], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(W,) which words are in passages that are recognised no better than by chance.

    The words are a hidden Markov model with two states, said here and not said here. In the first, as many are
    recognised as of the lecture's other words; the most probable states are those of Viterbi's algorithm. A few words
    in a row that are not recognised are no passage: it takes seven if the model recognises nearly all others.

    Args:
      recognised: (W,) whether the model recognises each word of a transcript where the search placed it.
      known: (W,) whether the model can recognise it at all; other words say nothing.
    """
    wrong = np.zeros(len(recognised), dtype=bool)
    for _ in range(2):  # then without the passages of the first time
        right = known & ~wrong
        part = float(recognised[right].mean()) if right.any() else 0.0
        if part < _LEAST:
            break
        wrong = _wrong_words(recognised, known, min(part, _MOST))
    return wrong


def _wrong_words(recognised: NDArray[np.bool_], known: NDArray[np.bool_], part: float) -> NDArray[np.bool_]:
    """(W,) which words are in wrong passages, if this part of the words of a right text is recognised."""
    yes, no = np.log(_BY_CHANCE / part), np.log((1 - _BY_CHANCE) / (1 - part))
    evidence = np.where(known, np.where(recognised, yes, no), 0.0)  # for a wrong passage
    from_right = np.zeros((2, len(evidence)), dtype=bool)  # by state: whether the best path comes from "right"
    right, wrong = 0.0, -_CHANGE
    for w, x in enumerate(evidence.tolist()):
        from_right[0, w] = right >= wrong - _CHANGE
        from_right[1, w] = right - _CHANGE > wrong
        right, wrong = max(right, wrong - _CHANGE), max(wrong, right - _CHANGE) + x
    is_wrong = np.zeros(len(evidence), dtype=bool)
    state = int(wrong - _CHANGE > right)
    for w in range(len(evidence) - 1, -1, -1):
        is_wrong[w] = state == 1
        state = 0 if from_right[state, w] else 1
    return is_wrong
