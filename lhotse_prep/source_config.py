"""Values of stages 0 and 1, sections corpus, text and checks of prep.yaml; the executor, of the command line."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.errors import ConfigError
from lhotse_prep.findings import RejectPolicy

KINDS = ("auto", "long", "utterances", "folder")
SCRIPTS = ("keep", "s2t", "t2s")
EXECUTORS = ("auto", "serial", "processes", "dask")


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
class TextConfig:
    """How transcripts are written."""

    script: str = "keep"  # Han characters stay, or become Traditional (s2t) or Simplified (t2s) by OpenCC

    def __post_init__(self) -> None:
        if self.script not in SCRIPTS:
            raise ConfigError(f"script must be one of {', '.join(SCRIPTS)}, got {self.script!r}")


@dataclass(frozen=True)
class CheckConfig:
    """Limits of what passes for good data."""

    max_hours: float = 10.0  # of one recording, by its header or once decoded: a small file can hold gigabytes
    max_characters_per_second: float = 25.0  # of the transcript
    min_characters_per_second: float = 0.3  # in recordings longer than rate_seconds
    rate_seconds: float = 10.0  # seconds; the text of a shorter recording cannot be too short
    min_peak: float = 1e-4  # of full scale (-80 dB); a recording that never reaches it is silent
    max_clipped: float = 1e-3  # part of the samples that lie flat at full scale, above which a warning is given
    skip_bad: bool = False  # leave out what has an error and write rejected.jsonl
    max_rejected: float = 0.05  # of the rows, that may be left out

    def __post_init__(self) -> None:
        if self.max_hours <= 0 or self.rate_seconds < 0:
            raise ConfigError("max_hours must be > 0 and rate_seconds >= 0")
        if not 0 <= self.min_characters_per_second < self.max_characters_per_second:
            raise ConfigError("need 0 <= min_characters_per_second < max_characters_per_second")
        if not (0 <= self.min_peak < 1 and 0 <= self.max_clipped <= 1):
            raise ConfigError("min_peak and max_clipped must be in 0..1")
        self.policy()

    def policy(self) -> RejectPolicy:
        """What follows from errors."""
        return RejectPolicy(self.skip_bad, self.max_rejected)


@dataclass(frozen=True)
class ExecutorConfig:
    """Where the work of stages 0, 1 and 4 is done; what comes out does not depend on it."""

    kind: str = "auto"  # serial, processes, dask; auto: processes where num_jobs > 1
    num_jobs: int = 1  # processes here, or workers of a local Dask cluster
    dask_scheduler: str = "local"  # address of a running scheduler (tcp://HOST:8786), or local: start one here

    def __post_init__(self) -> None:
        if self.kind not in EXECUTORS:
            raise ConfigError(f"executor must be one of {', '.join(EXECUTORS)}, got {self.kind!r}")
        if self.num_jobs < 1:
            raise ConfigError(f"num_jobs must be >= 1, got {self.num_jobs}")
        if self.dask_scheduler != "local" and "://" not in self.dask_scheduler:
            raise ConfigError(f"dask_scheduler must be local or an address, tcp://HOST:PORT; got {self.dask_scheduler}")
