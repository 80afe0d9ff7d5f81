"""Words of a recording with their times."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import DataError


class NoSpeechError(DataError):
    """A recording without speech, or in which the recogniser finds no words."""


@dataclass(frozen=True, slots=True)  # a lecture has many
class TimedToken:
    """A token of a lecture; `frame` counts encoder frames from the lecture's first sample."""

    id: int
    frame: int
    score: float


@dataclass(frozen=True, slots=True)  # a lecture has many
class TimedWord:
    """A Han character or a word of other letters, with its times in seconds, its score and its tokens.

    The score is a probability, 0 to 1. Only recognisers of this project give tokens.
    """

    text: str
    start: float
    end: float
    score: float
    tokens: tuple[TimedToken, ...] = ()
