"""Configuration of the page. Imported even if the stage has nothing to do, so it must import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class PageConfig:
    """Limits of the HTML report."""

    audio_megabytes: float = 6.0  # maximum size of all audio clips in the page, in megabytes; 0 for no audio
    lecture_hours: float = 30.0  # hours of lectures that are drawn, at about 1 MB an hour; at least one lecture is

    def __post_init__(self) -> None:
        if not 0 <= self.audio_megabytes <= 500:
            raise ConfigError(f"audio_megabytes must be in 0..500, got {self.audio_megabytes}")
        if not 0 <= self.lecture_hours <= 500:
            raise ConfigError(f"lecture_hours must be in 0..500, got {self.lecture_hours}")
