"""Values of stage 7: section `bitext` of conf/*/prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class BitextConfig:
    """How lectures become sentence pairs."""

    num_rounds: int = 6
    min_score: float = 0.0  # pairs below (nats a token over chance) are rejected
    max_length_ratio: float = 6.0  # tokens a word or words a token, above which a pair is rejected
    first_band: float = 0.1  # of a lecture's tokens, searched on both sides of the proportional line at first
    band: int = 150  # tokens on both sides of the path of the round before
    discount: float = 0.3  # expected sightings taken from each word pair

    def __post_init__(self) -> None:
        if self.num_rounds < 1:
            raise ConfigError(f"num_rounds must be >= 1, got {self.num_rounds}")
        if not 0 < self.first_band <= 1:
            raise ConfigError(f"first_band must be in 0..1, got {self.first_band}")
        if self.band < 1:
            raise ConfigError(f"band must be >= 1 token, got {self.band}")
        if self.max_length_ratio <= 1:
            raise ConfigError(f"max_length_ratio must be > 1, got {self.max_length_ratio}")
        if self.discount < 0:
            raise ConfigError(f"discount must be >= 0, got {self.discount}")
