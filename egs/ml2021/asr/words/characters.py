"""Normalised words from the characters of what a recogniser wrote, each with its time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from lhotse_prep.text.characters import HAN
from lhotse_prep.text.normalize import normalize_transcript
from ml2021.asr.words.timed_word import TimedWord

_RUN = re.compile(f"[{HAN}]+|[^\\s{HAN}]+")  # normalize_transcript treats each such run alone, formulas apart
_LEAST = 1e-6  # of a probability, so that its logarithm is finite


class TimedCharacter(NamedTuple):
    """A character's times in seconds, and the log-probability of the token that it is in."""

    start: float
    end: float  # its start if it is not known
    is_said: bool  # neither a mark nor a space
    log_probability: float


def log_probability_of(probability: float) -> float:
    """Its logarithm, finite; a probability above 1 counts as 1."""
    return math.log(min(1.0, max(_LEAST, probability)))


def words_of_characters(text: str, characters: Sequence[TimedCharacter]) -> list[TimedWord]:
    """Words, Han characters one by one.

    A word lasts from its first character that is said to its last; its score is the geometric mean of their
    probabilities.

    Args:
      text: what was recognised, with spaces between words.
      characters: of the text, as many as it has.
    """
    return [word for run in _RUN.finditer(text) for word in _words(run[0], characters[run.start() : run.end()])]


def _words(run: str, characters: Sequence[TimedCharacter]) -> Iterator[TimedWord]:
    """The words of a run: usually one, or one for each character; otherwise they share its time by their lengths."""
    texts = normalize_transcript(run).split()
    if len(texts) == len(characters):
        for text, character in zip(texts, characters):
            yield _word(text, [character])
    elif len(texts) == 1:
        yield _word(texts[0], characters)
    elif texts:
        whole = _word(run, characters)
        edges = [0, *accumulate(map(len, texts))]
        times = [whole.start + (whole.end - whole.start) * edge / edges[-1] for edge in edges]
        for text, start, end in zip(texts, times, times[1:]):
            yield TimedWord(text, start, end, whole.score)


def _word(text: str, characters: Sequence[TimedCharacter]) -> TimedWord:
    said = [c for c in characters if c.is_said] or characters
    score = math.exp(sum(c.log_probability for c in said) / len(said))
    return TimedWord(text, said[0].start, max(c.end for c in said), score)
