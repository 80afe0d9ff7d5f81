"""Configuration of language models: the section lm of decode.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.result_options import only_if
from ml2021.training.config import TrainConfig

KINDS = ("none", "ngram", "rnn")


class FusionSettings(Protocol):
    """The part of a search configuration that concerns language models and hotwords."""

    @property
    def lm_scale(self) -> float:
        """Weight of the language model's log-probabilities; 0: no language model."""

    @property
    def lm_dir(self) -> str | None:
        """Folder of the language model."""

    @property
    def lodr_scale(self) -> float:
        """Weight of the log-probabilities that a language model of the transcripts subtracts; 0: none."""

    @property
    def lodr_dir(self) -> str | None:
        """Folder of the language model of the transcripts."""

    @property
    def hotwords_file(self) -> str | None:
        """File with terms that get a bonus, one per line."""

    @property
    def hotwords_score(self) -> float:
        """Bonus per token for terms without a score of their own."""


@dataclass(frozen=True)
class RnnLmConfig:
    """The LSTM language model over tokens; its output layer shares the weights of its embedding."""

    dim: int = 256  # dimension of the embedding and of the LSTM
    num_layers: int = 1  # LSTM layers
    dropout: float = 0.3  # dropout probability, 0 <= dropout < 1
    max_tokens: int = 80  # tokens per training sequence at most; longer texts are split, at other places in each epoch
    batch_size: int = 32  # sequences per batch

    def __post_init__(self) -> None:
        for name in ("dim", "num_layers", "max_tokens", "batch_size"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be in 0..1, got {self.dropout}")


@dataclass(frozen=True)
class LmConfig:
    """The language model that stage 6 trains on the transcripts of the train part and on text-only lectures."""

    kind: str = "none"  # none (train no language model), ngram or rnn (LSTM)
    order: int = field(default=4, metadata=only_if(kind="ngram"))  # kind ngram: tokens in the longest n-grams, 1..9
    # kind rnn: the network and its batches
    rnn: RnnLmConfig = field(default_factory=RnnLmConfig, metadata=only_if(kind="rnn"))
    train: TrainConfig = field(default_factory=TrainConfig, metadata=only_if(kind="rnn"))  # kind rnn: the training

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if not 1 <= self.order <= 9:
            raise ConfigError(f"order must be in 1..9, got {self.order}")


LODR = LmConfig("ngram", order=2)  # what lodr_scale subtracts, trained on the transcripts of the train part alone
