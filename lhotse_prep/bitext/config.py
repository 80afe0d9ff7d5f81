"""How transcripts and translations become sentence pairs: section `bitext` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError


@dataclass(frozen=True)
class BitextConfig:
    """How the transcript and translation of a lecture become sentence pairs."""

    num_rounds: int = 6  # searches, each guided by the pairs of the one before
    min_score: float = 0.0  # nats per source unit over chance; pairs below it are rejected
    min_margin: float = 3.0  # nats by which the best other place is worse; pairs below it are in doubt and rejected
    max_length_ratio: float = 6.0  # tokens per word, or words per token; pairs above it are rejected
    dictionary_weight: float = 2.0  # occurrences of a word that the dictionary's entry weighs as much as; 0: none
    discount: float = 0.3  # subtracted from the expected count of each word pair

    def __post_init__(self) -> None:
        if self.num_rounds < 1:
            raise ConfigError(f"num_rounds must be >= 1, got {self.num_rounds}")
        if self.max_length_ratio <= 1:
            raise ConfigError(f"max_length_ratio must be > 1, got {self.max_length_ratio}")
        if self.min_margin < 0:
            raise ConfigError(f"min_margin must be >= 0 (nats), got {self.min_margin}")
        if self.dictionary_weight < 0:
            raise ConfigError(f"dictionary_weight must be >= 0, got {self.dictionary_weight}")
        if self.discount < 0:
            raise ConfigError(f"discount must be >= 0, got {self.discount}")
