"""Where work is done, and what follows from errors in the data."""

from __future__ import annotations

from dataclasses import dataclass

from lhotse_prep.workflow.errors import ConfigError

EXECUTORS = ("auto", "serial", "processes", "dask")


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
