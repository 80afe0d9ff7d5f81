"""Size of the mini corpus: section `mini` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.result_options import HOW_IT_RUNS


@dataclass(frozen=True)
class MiniConfig:
    """How large the mini corpus is; the defaults make 48 minutes of speech and 48 text-only lectures."""

    seed: int = 1  # of texts, pauses, voices and noise
    num_train: int = 6  # spoken training lectures; dev and test have one lecture each
    num_text_lectures: int = 48  # lectures without a recording
    min_minutes: float = 5.0  # shortest lecture
    max_minutes: float = 7.0  # longest lecture
    min_char_count: int = 3  # how often each character of dev and test occurs in the spoken training lectures, at least
    min_term_count: int = 2  # how often each English word of dev and test occurs there, at least
    num_workers: int = field(default=2, metadata=HOW_IT_RUNS)  # processes that synthesise speech

    def __post_init__(self) -> None:
        if self.num_train < 1 or self.num_text_lectures < 0 or self.num_workers < 1:
            raise ConfigError("num_train and num_workers must be >= 1, num_text_lectures >= 0")
        if not 0.2 <= self.min_minutes <= 0.9 * self.max_minutes:
            raise ConfigError("min_minutes must be >= 0.2 and at most 0.9 of max_minutes")
        if self.min_char_count < 0 or self.min_term_count < 0:
            raise ConfigError("min_char_count and min_term_count must be >= 0")
