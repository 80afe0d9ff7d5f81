"""Runs many pieces of work in this process, in a pool of processes or on a Dask cluster, with the same results.

A piece is the picklable argument of a module-level function. Results come back in the order of the pieces. Only a few
pieces per worker are submitted at a time, so a long list is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar, cast

from tqdm import tqdm

from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import end_with_parent
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
P = TypeVar("P")
R = TypeVar("R")
WORKER_TIMEOUT = 120.0  # seconds to wait for the first worker of a Dask scheduler
START_METHOD = "spawn"  # of processes: the fork of a process in which torch has threads can hang
_PIECES_PER_WORKER = 4  # submitted at a time


class Executor(Protocol):
    """Applies a function to pieces of work."""

    def map(self, function: Callable[[P], R], pieces: Iterable[P], title: str, total: int | None = None) -> Iterator[R]:
        """Yield function(piece) for each piece, in order; an exception of a piece is raised here.

        Args:
          function: a function at the top level of a module.
          pieces: its arguments, picklable; they are taken from an iterator as workers become free.
          title: of the progress bar, which is shown on a terminal only.
          total: the number of pieces, for the bar; None: what len() says, if `pieces` has it.
        """
        ...


class SerialExecutor:
    """Runs everything in this process."""

    def map(self, function: Callable[[P], R], pieces: Iterable[P], title: str, total: int | None = None) -> Iterator[R]:
        """See Executor."""
        for piece in tqdm(pieces, desc=title, total=total, disable=None, leave=False):
            yield function(piece)


class _PoolExecutor:
    """Submits pieces to a pool or a cluster and waits for the oldest result."""

    def __init__(self, submit: Callable[..., Any], num_workers: Callable[[], int]) -> None:
        self._submit, self._num_workers = submit, num_workers

    def map(self, function: Callable[[P], R], pieces: Iterable[P], title: str, total: int | None = None) -> Iterator[R]:
        """See Executor."""
        futures: deque[Future[R]] = deque()
        max_futures = _PIECES_PER_WORKER * max(1, self._num_workers())
        total = len(pieces) if total is None and isinstance(pieces, Sized) else total
        with tqdm(total=total, desc=title, disable=None, leave=False) as bar:
            try:
                for piece in pieces:
                    futures.append(self._submit(function, piece))
                    if len(futures) >= max_futures:
                        yield futures.popleft().result()
                        bar.update()
                while futures:
                    yield futures.popleft().result()
                    bar.update()
            except BrokenProcessPool as e:
                raise DataError(
                    f"{title}: a process died (out of memory?); run again with fewer processes, or free memory"
                ) from e
            finally:
                for future in futures:
                    future.cancel()


@contextlib.contextmanager
def open_executor(config: ExecutorConfig) -> Iterator[Executor]:
    """The executor that the configuration names; its processes end when the block ends.

    Raises:
      DataError: Dask is not installed, or its scheduler does not answer.
    """
    kind = config.kind
    if kind == "auto":
        kind = "processes" if config.num_jobs > 1 else "serial"
    if kind == "serial":
        yield SerialExecutor()
    elif kind == "processes":
        with _process_pool(config.num_jobs) as pool:
            yield _PoolExecutor(pool.submit, lambda: config.num_jobs)
    else:
        with _dask_client(config) as client:
            submit = _dask_submit(client)
            yield _PoolExecutor(submit, lambda: len(client.scheduler_info()["workers"]))


@contextlib.contextmanager
def fresh_processes(num_jobs: int) -> Iterator[Executor]:
    """An executor that runs every piece in a new process, num_jobs at a time.

    It is for libraries that keep state in the process: no result depends on the pieces before it.
    """
    pools: set[ProcessPoolExecutor] = set()

    def run(function: Callable[[P], R], piece: P) -> R:
        with _process_pool(1, num_threads=share_of_cores(num_jobs)) as pool:
            pools.add(pool)
            try:
                return pool.submit(function, piece).result()
            finally:
                pools.discard(pool)

    def submit(function: Callable[[P], R], piece: P) -> Future[R]:
        return threads.submit(run, function, piece)

    with ThreadPoolExecutor(num_jobs) as threads:
        try:
            yield _PoolExecutor(submit, lambda: num_jobs)
        except KeyboardInterrupt:
            threads.shutdown(wait=False, cancel_futures=True)
            for pool in list(pools):
                _terminate(pool)
            raise


@contextlib.contextmanager
def prepared_processes(num_jobs: int, prepare: Callable[[], object]) -> Iterator[Executor]:
    """An executor that calls prepare() in each of its num_jobs processes before the first piece; 1 job: this process.

    It is for pieces that need something large, such as a model, which prepare() keeps in a variable of its module.
    """
    if num_jobs == 1:
        prepare()
        yield SerialExecutor()
        return
    with _process_pool(num_jobs, prepare) as pool:
        yield _PoolExecutor(pool.submit, lambda: num_jobs)


@contextlib.contextmanager
def _process_pool(
    num_jobs: int, prepare: Callable[[], object] | None = None, num_threads: int | None = None
) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes end with the block, at once if it ends with Ctrl-C: files are written whole or not.

    Each has its share of the cores, unless OMP_NUM_THREADS says how many threads it has.
    """
    context, arguments = multiprocessing.get_context(START_METHOD), (num_threads or share_of_cores(num_jobs), prepare)
    with ProcessPoolExecutor(num_jobs, context, _begin, arguments) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            _terminate(pool)
            raise


def share_of_cores(num_processes: int) -> int:
    """Threads for each of some processes on this machine."""
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, num_cores // num_processes)


def thread_variables(num_threads: int) -> dict[str, str]:
    """Environment variables for a process with so many threads, for OpenMP and numba; OMP_NUM_THREADS, if set, counts.

    numba does not look at OMP_NUM_THREADS: left alone, each of its parallel kernels has a thread for every core.
    """
    omp = os.environ.get("OMP_NUM_THREADS", str(num_threads))
    first = omp.partition(",")[0].strip()  # of a list, as OpenMP allows it for nested regions
    numba = os.environ.get("NUMBA_NUM_THREADS", first if first.isdigit() and first != "0" else str(num_threads))
    return {"OMP_NUM_THREADS": omp, "NUMBA_NUM_THREADS": numba}


def _begin(num_threads: int, prepare: Callable[[], object] | None) -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the one that ends the others; end if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    variables = thread_variables(num_threads)
    os.environ.update(variables)  # for what is imported from here on
    _limit_threads(variables)
    if prepare is not None:
        prepare()


def _limit_threads(variables: dict[str, str]) -> None:
    """Give torch and numba the threads of thread_variables if the program imported them before this process began."""
    for name, variable in (("torch", "OMP_NUM_THREADS"), ("numba", "NUMBA_NUM_THREADS")):
        module, threads = sys.modules.get(name), variables[variable]
        if module is not None and threads.isdigit() and threads != "0":
            most = module.config.NUMBA_NUM_THREADS if name == "numba" else int(threads)  # numba refuses more
            module.set_num_threads(min(int(threads), most))


def _terminate(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool, whose other pieces are dropped first: it must not report them as broken."""
    processes = list((pool._processes or {}).values())  # there is no public way before Python 3.14
    manager = cast("threading.Thread | None", pool._executor_manager_thread)
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    if manager is not None:
        manager.join()


@contextlib.contextmanager
def _dask_client(config: ExecutorConfig) -> Iterator[Any]:
    try:
        from distributed import Client, LocalCluster
    except ImportError as e:
        raise DataError("Dask is not installed; pip install 'ml2021[dask]', or use --executor processes") from e
    connect = cast("Callable[..., Any]", Client)  # distributed has no types
    start_cluster = cast("Callable[..., Any]", LocalCluster)
    if config.dask_scheduler != "local":
        try:
            client = connect(config.dask_scheduler, timeout=20)
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
        start_cluster(
            n_workers=config.num_jobs,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=None,
            env=thread_variables(share_of_cores(config.num_jobs)),
        ) as cluster,
        connect(cluster) as client,
    ):
        logger.info("Dask: %d workers on this machine, scheduler %s", config.num_jobs, cluster.scheduler_address)
        yield client


def _dask_submit(client: Any) -> Callable[..., Any]:
    """Submit with Dask's cache of results switched off: a piece also writes files, so it must run every time."""

    def submit(function: Callable[[P], R], piece: P) -> Any:
        return client.submit(function, piece, pure=False)

    return submit
