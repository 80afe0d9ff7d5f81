"""How lectures become windows: section `windows` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class WindowConfig:
    """How lectures are cut into windows (Lhotse cuts)."""

    target_duration: float = 12.0  # seconds; stretches are joined to windows up to this length
    max_duration: float = 30.0  # seconds; a longer stretch without a pause is split at its widest gap between words
    min_duration: float = 0.3  # seconds; shorter windows are left out of training
    max_gap: float = 2.0  # seconds; longest gap without text inside a window
    padding: float = 0.3  # seconds before and after the text, at most half of the pause there
    min_confidence: float = 0.3  # supervisions below it are left out of training
    speed_factors: tuple[float, ...] = ()  # additional copies of the training windows, e.g. [0.9, 1.1]
    shar: bool = False  # also write Lhotse Shar, to train from shards
    shard_size: int = 1000  # windows per shard

    def __post_init__(self) -> None:
        if not 0 < self.min_duration < self.target_duration <= self.max_duration:
            raise ConfigError("need 0 < min_duration < target_duration <= max_duration (seconds)")
        if self.padding < 0 or self.max_gap <= 0 or not 0 <= self.min_confidence <= 1:
            raise ConfigError("need padding >= 0 s, max_gap > 0 s, min_confidence in 0..1")
        if self.shard_size < 1:
            raise ConfigError(f"shard_size must be >= 1, got {self.shard_size}")
        if any(not 0.5 <= factor <= 2 or factor == 1 for factor in self.speed_factors):
            raise ConfigError(f"speed_factors must be in 0.5..2 and not 1, got {list(self.speed_factors)}")
