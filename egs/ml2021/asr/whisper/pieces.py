"""Words of this project from the timed pieces of text that Whisper's alignment gives.

In languages without spaces, a piece is what one or a few tokens of Whisper spell: some Han characters, or a part of an
English word. Elsewhere, it is what is between two spaces.
"""

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
_LEAST = 1e-6  # of a piece's probability, so that its logarithm is finite


class TimedPiece(NamedTuple):
    """Some characters, with their times in seconds and their probability."""

    text: str
    start: float
    end: float
    probability: float


class _Character(NamedTuple):
    """A character's times, and its piece's log probability; marks and spaces take no time."""

    start: float
    end: float
    is_said: bool
    log_probability: float


def words_of_pieces(pieces: Sequence[TimedPiece]) -> list[TimedWord]:
    """Normalised words, Han characters one by one.

    The characters of a piece that are letters, digits or Han characters share its time evenly. A word lasts from its
    first such character to its last; its score is the geometric mean of its characters' probabilities.

    Args:
      pieces: in order; a word begins with a space (if it is not Han), so pieces without one continue the word before.
    """
    text = "".join(p.text for p in pieces)
    characters = [c for p in pieces for c in _characters(p)]
    return [word for run in _RUN.finditer(text) for word in _words(run[0], characters[run.start() : run.end()])]


def _characters(piece: TimedPiece) -> Iterator[_Character]:
    is_said = [c.isalnum() for c in piece.text]
    edges = [0, *accumulate(is_said)]
    duration = (piece.end - piece.start) / max(1, edges[-1])
    log_probability = math.log(min(1.0, max(_LEAST, piece.probability)))
    for said, before, after in zip(is_said, edges, edges[1:]):
        yield _Character(piece.start + duration * before, piece.start + duration * after, said, log_probability)


def _words(run: str, characters: Sequence[_Character]) -> Iterator[TimedWord]:
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


def _word(text: str, characters: Sequence[_Character]) -> TimedWord:
    said = [c for c in characters if c.is_said] or characters
    score = math.exp(sum(c.log_probability for c in said) / len(said))
    return TimedWord(text, said[0].start, max(c.end for c in said), score)
