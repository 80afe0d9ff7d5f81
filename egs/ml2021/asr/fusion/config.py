"""Configuration of language models: the section lm of decode.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from lhotse_prep.workflow.errors import ConfigError
from ml2021.training.config import TrainConfig

KINDS = ("none", "ngram", "rnn")


class FusionSettings(Protocol):
    """What a search's configuration says of language models and hotwords."""

    @property
    def lm_scale(self) -> float:
        """Of the language model's log-probabilities; 0: none."""

    @property
    def lm_dir(self) -> str | None:
        """The language model's folder."""

    @property
    def hotwords_file(self) -> str | None:
        """Terms that get a bonus, one a line."""

    @property
    def hotwords_score(self) -> float:
        """The bonus a token of a term that has none of its own."""


@dataclass(frozen=True)
class RnnLmConfig:
    """An LSTM over tokens, its output layer tied to its embedding."""

    dim: int = 256
    num_layers: int = 1
    dropout: float = 0.3
    max_tokens: int = 80  # of a training sequence; longer texts are cut, elsewhere in each epoch
    batch_size: int = 32  # sequences

    def __post_init__(self) -> None:
        for name in ("dim", "num_layers", "max_tokens", "batch_size"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in 0..1, got {self.dropout}")


@dataclass(frozen=True)
class LmConfig:
    """Which language model stage 6 trains on the transcripts of the train part and on the text-only lectures."""

    kind: str = "none"  # none, ngram or rnn
    order: int = 4  # tokens of an n-gram
    rnn: RnnLmConfig = field(default_factory=RnnLmConfig)
    train: TrainConfig = field(default_factory=TrainConfig)  # of rnn

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 1 <= self.order <= 9:
            raise ConfigError(f"order must be in 1..9, got {self.order}")
