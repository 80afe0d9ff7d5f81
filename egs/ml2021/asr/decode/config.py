"""What is decoded and how: section `decode` of decode.yaml, for stages 6 and 10, and the options of streaming."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.strict_config import require, require_all
from ml2021.asr.search.config import SearchConfig, require_finite


@dataclass(frozen=True)
class LongFormConfig:
    """Overlapping windows over a whole lecture."""

    chunk: float = 16.0  # seconds of a window whose tokens are kept
    context: float = 2.0  # seconds decoded in addition on both sides of a chunk
    max_silence: float = 8.0  # seconds; a longer silence is not decoded; 0: everything is decoded

    def __post_init__(self) -> None:
        require_finite(self)
        require(self.chunk > 0 and self.context >= 0, "chunk must be > 0 s and context >= 0 s")
        require(
            self.max_silence == 0 or self.max_silence > 2 * self.context,
            f"max_silence must be 0 or more than twice context ({self.context} s), got {self.max_silence}",
        )


@dataclass(frozen=True)
class DecodeConfig(SearchConfig):
    """A search, its batches, and the windows of whole lectures."""

    max_duration: float = 200.0  # seconds of audio in a batch
    long_form: LongFormConfig = field(default_factory=LongFormConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.max_duration > 0, f"max_duration must be > 0 s, got {self.max_duration}")


@dataclass(frozen=True)
class StreamingConfig:
    """How streams are decoded."""

    decoding_method: str = "greedy_search"
    num_active_paths: int = 4  # hypotheses of modified_beam_search
    blank_penalty: float = 0.0  # subtracted from the blank's logit
    num_decode_streams: int = 100  # decoded together, a chunk of each at a time

    def __post_init__(self) -> None:
        require_finite(self)
        require_all(self, ("num_active_paths", "num_decode_streams"), 1)

    @property
    def beam(self) -> int | None:
        """The beam that StreamingRecogniser takes; None: greedy search."""
        return self.num_active_paths if self.decoding_method == "modified_beam_search" else None


def with_lm_dir(config: DecodeConfig, exp: Path) -> DecodeConfig:
    """Set lm_dir to exp/lm, which stage 6 makes, if a language model is used and lm_dir is not set."""
    return replace(config, lm_dir=str(exp / "lm")) if config.lm_scale > 0 and config.lm_dir is None else config


def file_digests(config: DecodeConfig) -> dict[str, str]:
    """{path: digest} of the files that a configuration names: hotwords, graph, and those of the language model."""
    paths = [Path(path) for path in (config.hotwords_file, config.lg_file) if path is not None]
    if config.lm_dir is not None:
        paths += sorted(Path(config.lm_dir).glob("*.*"))
    return {str(path): digest_file(path) for path in paths if path.is_file()}
