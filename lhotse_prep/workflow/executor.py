"""One way to do many pieces of work: here, in a pool of processes, or on a Dask cluster; the results are the same.

A piece is a function of a module and its picklable arguments; results come back in the order of the pieces, and only a
few pieces are under way at a time, so that a long list is never in memory whole.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
P = TypeVar("P")
R = TypeVar("R")
WORKER_TIMEOUT = 120.0  # seconds that a Dask scheduler may take to have its first worker
_AHEAD = 4  # pieces under way for each worker


class Executor(Protocol):
    """Does pieces of work."""

    def map(self, function: Callable[[P], R], pieces: Iterable[P], title: str) -> Iterator[R]:
        """The results, in order. `title` names the progress bar. An error of a piece is raised here."""
        ...


class SerialExecutor:
    """Everything in this process."""

    def map(self, function: Callable[[P], R], pieces: Iterable[P], title: str) -> Iterator[R]:
        """See Executor."""
        for piece in _shown(pieces, title):
            yield function(piece)


class _Submitting:
    """What a pool and a cluster have in common: submit, and wait for the oldest."""

    def __init__(self, submit: Callable[..., Any], num_workers: Callable[[], int]) -> None:
        self._submit, self._num_workers = submit, num_workers

    def map(self, function: Callable[[P], R], pieces: Iterable[P], title: str) -> Iterator[R]:
        """See Executor."""
        under_way: deque[Future[R]] = deque()
        ahead = _AHEAD * max(1, self._num_workers())
        try:
            for piece in _shown(pieces, title):
                under_way.append(self._submit(function, piece))
                if len(under_way) >= ahead:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as e:
            raise DataError(f"{title}: a process died (out of memory?); run again with fewer jobs") from e
        finally:
            for future in under_way:
                future.cancel()


@contextlib.contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """The executor that the configuration names; its processes end with the block.

    Raises:
      DataError: Dask is not installed, or its scheduler does not answer.
    """
    kind = config.kind
    if kind == "auto":
        kind = "processes" if config.num_jobs > 1 else "serial"
    if kind == "serial":
        yield SerialExecutor()
    elif kind == "processes":
        # spawned, not forked: a fork of a process in which torch has threads can hang
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(config.num_jobs, mp_context=context) as pool:
            yield _Submitting(pool.submit, lambda: config.num_jobs)
    else:
        with _dask_client(config) as client:
            submit = _dask_submit(client)
            yield _Submitting(submit, lambda: len(client.scheduler_info()["workers"]))


@contextlib.contextmanager
def _dask_client(config: ExecutorConfig) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as e:
        raise DataError("Dask is not installed; pip install 'ml2021[dask]', or use --executor processes") from e
    if config.dask_scheduler != "local":
        try:
            client = Client(config.dask_scheduler, timeout=20)
        except (OSError, TimeoutError) as e:
            raise DataError(
                f"no Dask scheduler answers at {config.dask_scheduler}; is `dask scheduler` running?"
            ) from e
        with client:
            try:
                client.wait_for_workers(1, timeout=WORKER_TIMEOUT)
            except TimeoutError as e:
                raise DataError(
                    f"the Dask scheduler at {config.dask_scheduler} has had no worker for {WORKER_TIMEOUT:g} s; start "
                    f"some: dask worker {config.dask_scheduler}"
                ) from e
            yield client
        return
    with (
        LocalCluster(
            n_workers=config.num_jobs, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None
        ) as cluster,
        Client(cluster) as client,
    ):
        logger.info("Dask: %d workers on this machine, scheduler %s", config.num_jobs, cluster.scheduler_address)
        yield client


def _dask_submit(client: Any) -> Callable[..., Any]:
    """Submit without Dask's cache of results by arguments: a piece also writes files, so it must run each time."""

    def submit(function: Callable[[P], R], piece: P) -> Any:
        return client.submit(function, piece, pure=False)

    return submit


def _shown(pieces: Iterable[P], title: str) -> Iterable[P]:
    """With a progress bar where somebody sees it."""
    return tqdm(pieces, desc=title, disable=None, leave=False)
