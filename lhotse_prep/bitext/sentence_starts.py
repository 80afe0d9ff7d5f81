"""Where sentences of an English text may begin, judged from capitals and full stops alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_SEGMENT_WORDS = 60  # text without capitals or stops is cut after so many
_OPENING, _CLOSING = "\"'“‘(", "\"'”’)"  # marks before and after a word
PRIOR_STOPS = 3.0  # number of stops that a word's prior weighs as much as


def segment_starts(words: Sequence[str]) -> list[int]:
    """Indices of words that may begin a sentence: capitalised, after a stop, or MAX_SEGMENT_WORDS after the last."""
    starts = [0]
    for i in range(1, len(words)):
        capital = shape(words[i].lstrip(_OPENING)) in "CAI"
        if capital or _ends_sentence(words[i - 1]) or i - starts[-1] >= MAX_SEGMENT_WORDS:
            starts.append(i)
    return starts


def first_segment_odds(words: Sequence[str], starts: np.ndarray, starters: dict[str, float]) -> np.ndarray:
    """(len(starts),) log-odds that a sentence begins there: 4 after a stop, else by word; 0 at both ends of the text.

    Args:
      words: the text.
      starts: indices of words, ascending; the last is the number of words.
      starters: from starter_odds.
    """
    odds = np.zeros(len(starts))
    for k, s in enumerate(starts[1:-1].tolist(), 1):
        odds[k] = 4.0 if _ends_sentence(words[s - 1]) else starters.get(_plain(words[s]), -2.0)
    return odds


def starter_odds(texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """{word: log-odds that it begins a sentence if it is capitalised and no stop precedes it}.

    A word that begins sentences (So, The) often follows a stop; a name (BERT) seldom does. The prior of a word weighs
    as much as PRIOR_STOPS stops: in a text with few stops the counts say little and the prior decides.
    """
    after_stop, without_stop = Counter[str](), Counter[str]()
    priors: dict[str, float] = {}
    for words in texts:
        for before, word in zip(words, words[1:]):
            kind = shape(word.lstrip(_OPENING))
            if kind in "CAI":
                priors[_plain(word)] = 0.8 if kind == "C" else 0.1
                (after_stop if _ends_sentence(before) else without_stop)[_plain(word)] += 1
    stop_ratio = sum(after_stop.values()) / max(1, sum(without_stop.values()))
    odds = {}
    for word, prior in priors.items():
        expected = without_stop[word] * stop_ratio  # stops before the word, if it always began a sentence
        share = (after_stop[word] + PRIOR_STOPS * prior) / (expected + PRIOR_STOPS)
        share = min(0.9, max(0.05, share))
        odds[word] = math.log(share / (1 - share))
    return odds


def shape(word: str) -> str:
    """I for the pronoun, A for an acronym, C for a capitalised word, 0 for one without letters, a for lower case."""
    letters = [c for c in word if c.isalpha()]
    if word.strip("\"'“”‘’.,?!") in ("I", "I'm", "I'll", "I've", "I'd", "I’m", "I’ll", "I’ve", "I’d"):
        return "I"
    if not letters:
        return "0"
    if len(letters) > 1 and sum(c.isupper() for c in letters) > 1 and letters[1].isupper():
        return "A"
    return "C" if letters[0].isupper() else "a"


def _ends_sentence(word: str) -> bool:
    return word.rstrip(_CLOSING)[-1:] in (".", "?", "!")


def _plain(word: str) -> str:
    return word.strip(_OPENING + _CLOSING + ".,?!:;")
