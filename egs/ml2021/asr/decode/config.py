"""What is decoded and how: section `decode` of decode.yaml, for stages 6 and 10."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from lhotse_prep.workflow.strict_config import require
from ml2021.asr.search.config import SearchConfig


@dataclass(frozen=True)
class LongFormConfig:
    """Overlapping windows over a whole lecture."""

    chunk: float = 16.0  # seconds whose tokens a window gives
    context: float = 2.0  # seconds heard besides, on both sides
    max_silence: float = 8.0  # seconds; what lies in a longer silence is not decoded; 0: all is decoded

    def __post_init__(self) -> None:
        require(self.chunk > 0 and self.context >= 0, "chunk must be > 0 s and context >= 0 s")
        require(
            self.max_silence == 0 or self.max_silence > 2 * self.context,
            f"max_silence must be 0 or more than twice context ({self.context} s), got {self.max_silence}",
        )


@dataclass(frozen=True)
class DecodeConfig(SearchConfig):
    """A search, its batches, and the windows of whole lectures."""

    max_duration: float = 200.0  # seconds of audio a batch
    long_form: LongFormConfig = field(default_factory=LongFormConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_duration > 0, f"max_duration must be > 0 s, got {self.max_duration}")


def with_lm_dir(config: DecodeConfig, exp: Path) -> DecodeConfig:
    """Where a language model is used and no folder named, that of the experiment: exp/lm, which stage 6 makes."""
    return replace(config, lm_dir=str(exp / "lm")) if config.lm_scale > 0 and config.lm_dir is None else config
