"""How subtitles look: section `subtitles` of decode.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.strict_config import require


@dataclass(frozen=True)
class SubtitleConfig:
    """Limits of a cue."""

    max_latin: int = 42  # characters of a line; a wide (CJK) character counts as max_latin / max_cjk
    max_cjk: int = 16  # wide (CJK) characters of a line
    max_lines: int = 2  # lines of each language
    min_duration: float = 1.0  # seconds; less where the next cue's words follow sooner and the two do not fit into one
    max_duration: float = 7.0  # seconds; a longer cue is split
    reading_speed: float = 17.0  # Latin characters a second; a cue stays that long if silence follows
    max_reading_speed: float = 20.0  # Latin characters a second; a faster cue is reported
    cjk_reading_speed: float = 9.0  # wide (CJK) characters a second; a cue stays that long; a faster one is reported
    min_gap: float = 0.08  # seconds between two cues: two frames at 25 a second; less where cues crowd
    close_gap: float = 0.5  # seconds; across a shorter gap the earlier cue is prolonged until min_gap is left

    def __post_init__(self) -> None:
        require(
            0 < self.min_duration < self.max_duration,
            f"min_duration must be > 0 s and below max_duration, got {self.min_duration}",
        )
        require(self.reading_speed > 0, f"reading_speed must be > 0, got {self.reading_speed}")
        require(self.cjk_reading_speed > 0, f"cjk_reading_speed must be > 0, got {self.cjk_reading_speed}")
        require(
            self.max_reading_speed >= self.reading_speed,
            f"max_reading_speed must be at least reading_speed ({self.reading_speed}), got {self.max_reading_speed}",
        )
        require(
            0 <= self.min_gap < self.max_duration, f"min_gap must be >= 0 s and below max_duration, got {self.min_gap}"
        )
        require(
            self.close_gap >= self.min_gap,
            f"close_gap must be at least min_gap ({self.min_gap} s), got {self.close_gap}",
        )
        smallest = min(self.max_latin, self.max_cjk, self.max_lines)
        require(smallest >= 1, "max_latin, max_cjk and max_lines must be at least 1")
        require(
            self.max_cjk <= self.max_latin, f"max_cjk ({self.max_cjk}) must be at most max_latin ({self.max_latin})"
        )
