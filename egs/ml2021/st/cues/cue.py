"""What cues are made from, and cues."""

from __future__ import annotations

from dataclasses import dataclass

Word = tuple[str, float, float]  # a Han character or a word of other letters, with start and end in seconds


@dataclass(frozen=True)
class TranslatedSentence:
    """A sentence from the cascade; times in seconds.

    Where a long sentence is split, the times come from its words, which may spell the source or not be shown at all.
    Punctuation of the source need not be in them. Without words, the text is taken to be spoken evenly from start to
    end.
    """

    start: float
    end: float
    source: str
    target: str
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Cue:
    """Lines that are on the screen from start to end, in milliseconds."""

    start: int
    end: int
    source_lines: tuple[str, ...]
    target_lines: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        return self.source_lines + self.target_lines
