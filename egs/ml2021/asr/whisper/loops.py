"""Find text that repeats itself, which Whisper writes when it has lost track."""

from __future__ import annotations

from collections.abc import Sequence

from ml2021.asr.words.timed_word import TimedWord

_MOST_WORDS = 12  # of a part that is repeated
_LEAST_REPEATS = 4  # in a row
_LEAST_WORDS = 8  # of all repeats together: people do say 對 對 對 對


def without_loops(words: Sequence[TimedWord]) -> list[TimedWord]:
    """The words, of each part that is repeated in a row the first occurrence only."""
    texts = [w.text for w in words]
    kept: list[TimedWord] = []
    i = 0
    while i < len(texts):
        length, repeats = _loop_at(texts, i)
        kept += words[i : i + length]
        i += length * repeats
    return kept


def _loop_at(texts: Sequence[str], i: int) -> tuple[int, int]:
    """The length of the shortest part at i that is repeated too often, and how often it occurs; (1, 1) without one."""
    for length in range(1, _MOST_WORDS + 1):
        part = texts[i : i + length]
        repeats = 1
        while texts[i + repeats * length : i + (repeats + 1) * length] == part:
            repeats += 1
        if repeats >= _LEAST_REPEATS and repeats * length >= _LEAST_WORDS:
            return length, repeats
    return 1, 1
