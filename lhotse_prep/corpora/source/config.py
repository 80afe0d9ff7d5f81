"""How a corpus is read and what passes for good data: sections `corpus` and `checks` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.findings import RejectPolicy

KINDS = ("auto", "long", "utterances", "folder")


@dataclass(frozen=True)
class CorpusConfig:
    """How a corpus of the user's is read."""

    kind: str = "auto"  # of the tables at --corpus: told by the length of their recordings, or named here
    utterances: str = ""  # tables of the utterances that the lectures at --corpus are made of (folder or file)
    keep_dev_in_test: bool = False  # test utterances whose audio is in dev too stay in test
    long_seconds: float = 120.0  # rows that last longer than this (median) are lectures

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.long_seconds <= 0:
            raise ConfigError(f"long_seconds must be > 0 s, got {self.long_seconds}")


@dataclass(frozen=True)
class CheckConfig(AudioLimits):
    """Limits of what passes for good data."""

    max_characters_per_second: float = 25.0  # of the transcript
    min_characters_per_second: float = 0.3  # in recordings longer than rate_seconds
    rate_seconds: float = 10.0  # seconds; the text of a shorter recording cannot be too short
    skip_bad: bool = False  # leave out what has an error and write rejected.jsonl
    max_rejected: float = 0.05  # of the rows, that may be left out

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate_seconds < 0:
            raise ConfigError(f"rate_seconds must be >= 0, got {self.rate_seconds}")
        if not 0 <= self.min_characters_per_second < self.max_characters_per_second:
            raise ConfigError("need 0 <= min_characters_per_second < max_characters_per_second")
        self.policy()

    def policy(self) -> RejectPolicy:
        """What follows from errors."""
        return RejectPolicy(self.skip_bad, self.max_rejected)
