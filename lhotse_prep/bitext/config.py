"""How transcripts and translations become sentence pairs: section `bitext` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class BitextConfig:
    """How the transcript and translation of a lecture become sentence pairs."""

    num_rounds: int = 6  # searches, each guided by the pairs of the one before
    min_score: float = 0.0  # nats per source unit over chance; pairs below it are rejected
    max_length_ratio: float = 6.0  # tokens per word, or words per token; pairs above it are rejected
    first_band: float = 0.1  # first search: share of a lecture's tokens on either side of the proportional line
    band: int = 150  # later searches: tokens on either side of the last path
    discount: float = 0.3  # subtracted from the expected count of each word pair

    def __post_init__(self) -> None:
        if self.num_rounds < 1:
            raise ConfigError(f"num_rounds must be >= 1, got {self.num_rounds}")
        if not 0 < self.first_band <= 1:
            raise ConfigError(f"first_band must be > 0 and <= 1, got {self.first_band}")
        if self.band < 1:
            raise ConfigError(f"band must be >= 1 (tokens), got {self.band}")
        if self.max_length_ratio <= 1:
            raise ConfigError(f"max_length_ratio must be > 1, got {self.max_length_ratio}")
        if self.discount < 0:
            raise ConfigError(f"discount must be >= 0, got {self.discount}")
