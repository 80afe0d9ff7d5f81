"""Where sentences end: section `sentences` of decode.yaml, for stage 10 (`subtitles`: see cues.config)."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require
from ml2021.st.cues.config import SubtitleConfig

__all__ = ["SentenceConfig", "SubtitleConfig"]


@dataclass(frozen=True)
class SentenceConfig:
    """Where a sentence ends."""

    min_pause: float = 0.4  # seconds of silence that end a sentence; with punctuation, only after a mark
    max_pause: float = 2.0  # seconds of silence that end a sentence whatever the punctuation
    max_tokens: int = 40  # a longer sentence is cut at its longest pause
    min_tokens: int = 2  # a shorter one is joined with its nearer neighbour if the result has at most max_tokens
    join_pause: float = 1.0  # seconds; sentences are not joined across a longer pause

    def __post_init__(self) -> None:
        require(self.min_pause > 0, f"min_pause must be > 0 s, got {self.min_pause}")
        require(
            self.max_pause >= self.min_pause,
            f"max_pause must be at least min_pause ({self.min_pause} s), got {self.max_pause}",
        )
        require(self.join_pause >= 0, f"join_pause must be >= 0 s, got {self.join_pause}")
        require(
            1 <= self.min_tokens <= self.max_tokens,
            f"min_tokens ({self.min_tokens}) must be in 1..max_tokens ({self.max_tokens})",
        )
