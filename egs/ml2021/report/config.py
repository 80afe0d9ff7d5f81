"""What the page may weigh. Imported also when there is nothing to do, so it imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class PageConfig:
    """Limits of the page."""

    audio_megabytes: float = 6.0  # of embedded clips together, as they lie in the page; 0 for a page without sound

    def __post_init__(self) -> None:
        if not 0 <= self.audio_megabytes <= 500:
            raise ConfigError(f"audio_megabytes must be from 0 to 500, got {self.audio_megabytes}")
