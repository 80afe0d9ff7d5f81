"""Words of this project from the timed pieces of text that Whisper's alignment gives.

In languages without spaces, a piece is what one or a few tokens of Whisper spell: some Han characters, or a part of an
English word. Elsewhere, it is what is between two spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from ml2021.asr.words.characters import TimedCharacter, log_probability_of, words_of_characters
from ml2021.asr.words.timed_word import TimedWord


class TimedPiece(NamedTuple):
    """Some characters, with their times in seconds and their probability."""

    text: str
    start: float
    end: float
    probability: float


def words_of_pieces(pieces: Sequence[TimedPiece]) -> list[TimedWord]:
    """Normalised words, Han characters one by one.

    The characters of a piece that are letters, digits or Han characters share its time evenly. A word lasts from its
    first such character to its last; its score is the geometric mean of its characters' probabilities.

    Args:
      pieces: in order; a word begins with a space (if it is not Han), so pieces without one continue the word before.
    """
    text = "".join(p.text for p in pieces)
    characters = [c for p in pieces for c in _characters(p)]
    return words_of_characters(text, characters)


def _characters(piece: TimedPiece) -> Iterator[TimedCharacter]:
    is_said = [c.isalnum() for c in piece.text]
    edges = [0, *accumulate(is_said)]
    duration = (piece.end - piece.start) / max(1, edges[-1])
    log_probability = log_probability_of(piece.probability)
    for said, before, after in zip(is_said, edges, edges[1:]):
        yield TimedCharacter(piece.start + duration * before, piece.start + duration * after, said, log_probability)
