"""How a corpus is read, and the limits of good data: sections `corpus` and `checks` of prep.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.config import RejectPolicy
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.result_options import FILE

KINDS = ("auto", "long", "utterances", "folder")


@dataclass(frozen=True)
class CorpusConfig:
    """How a user's corpus is read."""

    kind: str = "auto"  # of the tables at --corpus; auto: judged by the length of their recordings
    # file or folder: tables of the utterances that the lectures at --corpus consist of
    utterances: str = field(default="", metadata=FILE)
    keep_dev_in_test: bool = False  # keep test utterances whose audio is also in dev
    long_seconds: float = 120.0  # auto: tables whose rows are at least this long (median) hold lectures

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.long_seconds <= 0:
            raise ConfigError(f"long_seconds must be > 0 s, got {self.long_seconds}")


@dataclass(frozen=True)
class CheckConfig(AudioLimits):
    """Limits of good data; a recording or text beyond them is an error."""

    max_characters_per_second: float = 25.0  # of the transcript, over the recording's duration
    min_characters_per_second: float = 0.3  # checked in recordings longer than rate_seconds
    rate_seconds: float = 10.0  # seconds; in shorter recordings a transcript is never too short
    max_shared_text: float = 0.2  # share of a text that may be in one of dev or test, in runs of words; 1: all of it
    skip_bad: bool = False  # leave out data with errors, count it and write rejected.jsonl; otherwise stop
    max_rejected: float = 0.05  # share of the rows that may be left out, in 0..1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate_seconds < 0:
            raise ConfigError(f"rate_seconds must be >= 0, got {self.rate_seconds}")
        if not 0 <= self.min_characters_per_second < self.max_characters_per_second:
            raise ConfigError("need 0 <= min_characters_per_second < max_characters_per_second")
        if not 0 < self.max_shared_text <= 1:
            raise ConfigError(f"max_shared_text must be > 0 and <= 1, got {self.max_shared_text}")
        self.policy()

    def policy(self) -> RejectPolicy:
        """What errors in the data lead to."""
        return RejectPolicy(self.skip_bad, self.max_rejected)
