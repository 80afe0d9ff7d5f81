"""Limits of a good recording: part of section `checks` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError

FRAME_SHIFT = 160  # samples at 16 kHz between two frames of features


@dataclass(frozen=True)
class AudioLimits:
    """What a recording must satisfy."""

    max_hours: float = 10.0  # of one recording, by its header or decoded: a small file can decode to gigabytes
    min_peak: float = 1e-4  # of full scale (-80 dB); a recording whose peak is lower is silent
    max_clipped: float = 1e-3  # share of clipped samples, above which a warning is given

    def __post_init__(self) -> None:
        if self.max_hours <= 0:
            raise ConfigError(f"max_hours must be > 0, got {self.max_hours}")
        if not (0 <= self.min_peak < 1 and 0 <= self.max_clipped <= 1):
            raise ConfigError("min_peak and max_clipped must be in 0..1")
