"""Configuration of the page. Imported even if the stage has nothing to do, so it must import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class PageConfig:
    """Limits of the HTML report."""

    audio_megabytes: float = 6.0  # maximum size of all audio clips in the page, in megabytes; 0 for no audio

    def __post_init__(self) -> None:
        if not 0 <= self.audio_megabytes <= 500:
            raise ConfigError(f"audio_megabytes must be in 0..500, got {self.audio_megabytes}")
