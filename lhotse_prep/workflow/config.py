"""Where work runs, and what errors in the data lead to."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError

EXECUTORS = ("auto", "serial", "processes", "dask")


@dataclass(frozen=True)
class ExecutorConfig:
    """Where the work of stages 0, 1, 3 and 4 runs; the results do not depend on it."""

    kind: str = "auto"  # serial, processes or dask; auto: processes if num_jobs > 1, else serial
    num_jobs: int = 1  # processes on this machine, or workers of a local Dask cluster
    dask_scheduler: str = "local"  # address of a running scheduler (tcp://HOST:8786); local: start one on this machine

    def __post_init__(self) -> None:
        if self.kind not in EXECUTORS:
            raise ConfigError(f"executor must be one of {', '.join(EXECUTORS)}, got {self.kind!r}")
        if self.num_jobs < 1:
            raise ConfigError(f"num_jobs must be >= 1, got {self.num_jobs}")
        if self.dask_scheduler != "local" and "://" not in self.dask_scheduler:
            raise ConfigError(f"dask_scheduler must be local or an address, tcp://HOST:PORT; got {self.dask_scheduler}")


@dataclass(frozen=True)
class RejectPolicy:
    """Whether errors in the data stop a run, or up to a limit only leave out the data that has them."""

    skip_bad: bool = False  # leave out data with errors, count it and write rejected.jsonl; otherwise stop
    max_rejected: float = 0.05  # share of the rows, in 0..1: if more are bad, the corpus is at fault and the run stops

    def __post_init__(self) -> None:
        if not 0 <= self.max_rejected <= 1:
            raise ConfigError(f"max_rejected must be in 0..1, got {self.max_rejected}")
