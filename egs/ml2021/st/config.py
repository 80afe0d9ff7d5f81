"""Where sentences end and how subtitles look: sections `sentences` and `subtitles` of decode.yaml, for stage 10."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require


@dataclass(frozen=True)
class SentenceConfig:
    """Where a sentence ends."""

    min_pause: float = 0.3  # seconds of silence that end a sentence
    max_tokens: int = 40  # a longer sentence is cut at its longest pause
    min_tokens: int = 2  # a shorter one is joined with its nearer neighbour if the result has at most max_tokens
    join_pause: float = 1.0  # seconds; sentences are not joined across a longer pause

    def __post_init__(self) -> None:
        require(self.min_pause > 0, f"min_pause must be > 0 s, got {self.min_pause}")
        require(self.join_pause >= 0, f"join_pause must be >= 0 s, got {self.join_pause}")
        require(
            1 <= self.min_tokens <= self.max_tokens,
            f"min_tokens ({self.min_tokens}) must be in 1..max_tokens ({self.max_tokens})",
        )


@dataclass(frozen=True)
class SubtitleConfig:
    """Limits of a cue."""

    max_latin: int = 42  # characters of a line; a wide (CJK) character counts as max_latin / max_cjk
    max_cjk: int = 16  # wide (CJK) characters of a line
    max_lines: int = 2  # lines of each language
    min_duration: float = 1.0  # seconds; less where the next cue's words follow sooner and the two do not fit into one
    max_duration: float = 7.0  # seconds; a longer cue is split
    reading_speed: float = 17.0  # Latin characters a second; a cue stays that long if silence follows

    def __post_init__(self) -> None:
        require(
            0 < self.min_duration < self.max_duration,
            f"min_duration must be > 0 s and below max_duration, got {self.min_duration}",
        )
        require(self.reading_speed > 0, f"reading_speed must be > 0, got {self.reading_speed}")
        smallest = min(self.max_latin, self.max_cjk, self.max_lines)
        require(smallest >= 1, "max_latin, max_cjk and max_lines must be at least 1")
        require(
            self.max_cjk <= self.max_latin, f"max_cjk ({self.max_cjk}) must be at most max_latin ({self.max_latin})"
        )
