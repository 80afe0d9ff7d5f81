"""Where a sentence of an English text may begin, from capitals and full stops alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

MAX_SEGMENT_WORDS = 60  # a stretch with no capitals at all is cut here
_OPENING, _CLOSING = "\"'“‘(", "\"'”’)"  # marks around a word
PRIOR_STOPS = 3.0  # stops that the prior of a word is worth


def segment_starts(words: Sequence[str]) -> list[int]:
    """Words where a sentence may begin: capitalised, after a full stop, and at least every MAX_SEGMENT_WORDS words."""
    starts = [0]
    for i in range(1, len(words)):
        capital = shape(words[i].lstrip(_OPENING)) in "CAI"
        if capital or _ends_sentence(words[i - 1]) or i - starts[-1] >= MAX_SEGMENT_WORDS:
            starts.append(i)
    return starts


def first_segment_odds(words: Sequence[str], starts: np.ndarray, starters: dict[str, float]) -> np.ndarray:
    """Log-odds that a sentence begins at each of `starts` (the last of which is the end): 4 after a stop."""
    odds = np.zeros(len(starts))
    for k, s in enumerate(starts[1:-1].tolist(), 1):
        odds[k] = 4.0 if _ends_sentence(words[s - 1]) else starters.get(_plain(words[s]), -2.0)
    return odds


def starter_odds(texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """Log-odds that a capitalised word with no stop before it begins a sentence, by word.

    A word that begins sentences (So, The) comes after a stop as often as stops are written; a name (BERT) seldom does.
    A prior stands for PRIOR_STOPS stops: with few written, nothing can be told apart and the prior stays.
    """
    after_stop, sudden = Counter[str](), Counter[str]()
    priors: dict[str, float] = {}
    for words in texts:
        for before, word in zip(words, words[1:]):
            kind = shape(word.lstrip(_OPENING))
            if kind in "CAI":
                priors[_plain(word)] = 0.8 if kind == "C" else 0.1
                (after_stop if _ends_sentence(before) else sudden)[_plain(word)] += 1
    stops_a_sudden_start = sum(after_stop.values()) / max(1, sum(sudden.values()))
    odds = {}
    for word, prior in priors.items():
        expected = sudden[word] * stops_a_sudden_start  # stops before the word, if it began a sentence every time
        part = (after_stop[word] + PRIOR_STOPS * prior) / (expected + PRIOR_STOPS)
        part = min(0.9, max(0.05, part))
        odds[word] = math.log(part / (1 - part))
    return odds


def shape(word: str) -> str:
    """I, an acronym (A), capitalised (C), with a digit (0), else lower case (a)."""
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
