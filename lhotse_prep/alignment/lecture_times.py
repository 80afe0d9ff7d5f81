"""Times lectures one after the other, here or in the processes of an executor, and keeps each result until the end.

A stage that was stopped times only the lectures whose results are missing.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.units_to_words import finished, median_lag, onset_lags
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.resumable import ResultFolder

_ROOTS = ("lhotse_prep", "ml2021")  # loggers whose messages are passed on
_STATE = ".done"  # subfolder of the marks of finished lectures
_SUFFIX = ".npz"
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")  # ids that are names of files on every system
_Log = list[tuple[str, int, str]]  # name of the logger, level, message


@dataclass(frozen=True)
class LectureTimes:
    """When the words of a lecture are said, as a model emits them, and its speech."""

    times: WordTimes
    regions: NDArray[np.int64]  # (R, 2) stretches of speech in samples
    num_units: NDArray[np.int64]  # (W,) units of each word, from which its length is estimated


class Item(Protocol):
    """A lecture, in any form that its work takes; picklable."""

    @property
    def id(self) -> str:
        """The lecture's id."""

    def content(self) -> str:
        """A digest of what its result depends on, besides the work."""


T = TypeVar("T", bound=Item)
Work = Callable[[T], LectureTimes]


@dataclass(frozen=True)
class Results:
    """A folder with the results of one kind of work on lectures; picklable."""

    folder: Path
    options: str  # a digest of what the results depend on besides the lecture

    def has(self, item: Item) -> bool:
        """Whether there is a result of this lecture; raises DataError if its file was changed."""
        return self._files.is_done(file_name(item.id), item.content())

    def read(self, lecture: str) -> LectureTimes:
        """The result of a lecture; raises DataError if it is missing or damaged."""
        return self.read_with_log(lecture)[0]

    def read_with_log(self, lecture: str) -> tuple[LectureTimes, _Log]:
        """Also what the work logged."""
        path = self.folder / f"{file_name(lecture)}{_SUFFIX}"
        try:
            with np.load(path, allow_pickle=False) as f:
                agreement = float(f["agreement"])
                start, end, score = f["times"]
                wrong = f["wrong"] if f["wrong"].size else None
                times = WordTimes(start, end, score, None if np.isnan(agreement) else agreement, wrong)
                return LectureTimes(times, f["regions"], f["num_units"]), [(*x,) for x in json.loads(str(f["log"]))]
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
            raise DataError(
                f"lecture {lecture}: {path} is missing or damaged; remove it, and the same command makes it again"
            ) from e

    def write(self, item: Item, result: LectureTimes, log: _Log) -> None:
        """Keep the result of a lecture; raises DataError if the disk is full."""
        name = file_name(item.id)
        t = result.times
        with self._files.work(name, item.content()) as folder:
            np.savez(
                folder / f"{name}{_SUFFIX}",
                times=np.stack([t.start, t.end, t.score]),
                agreement=np.float64(np.nan if t.agreement is None else t.agreement),
                wrong=np.zeros(0, dtype=bool) if t.wrong is None else t.wrong,
                regions=result.regions,
                num_units=result.num_units,
                log=np.array(json.dumps(log)),
            )

    @property
    def _files(self) -> ResultFolder:
        (self.folder / _STATE).mkdir(parents=True, exist_ok=True)
        return ResultFolder(self.folder, _STATE, (_SUFFIX,), self.options, may_be_edited=False)


def file_name(lecture: str) -> str:
    """A name for the files of a lecture, whatever characters its id has."""
    if _PLAIN.fullmatch(lecture):
        return lecture
    return f"{re.sub('[^a-zA-Z0-9_-]', '_', lecture)[:60]}.{digest_bytes(lecture.encode(errors='surrogatepass'))[:16]}"


def time_each(
    work: Work[T],
    items: Iterable[T],
    executor: Executor,
    results: Results | None,
    title: str,
    batched: Callable[[Iterable[T]], Iterator[LectureTimes]] | None = None,
) -> Iterator[tuple[T, LectureTimes]]:
    """Yield each lecture with its result, in order; results that are there are read.

    What the work logs appears when its result is yielded, so that it is the same with every executor.

    Args:
      work: picklable, if the executor has other processes.
      items: the lectures.
      executor: runs the work.
      results: where results are kept; None: nowhere.
      title: of the progress bar.
      batched: does the work of many lectures in this process instead of `work` in the executor.
    Raises:
      DataError: as the work raises it for the first lecture in order that it raises one for.
    """
    waiting: deque[tuple[T, bool]] = deque()  # lectures whose results are still to come, and whether they are there

    def pieces() -> Iterator[_Piece[T]]:
        for item in items:
            is_there = results is not None and results.has(item)
            waiting.append((item, is_there))
            if not is_there:
                yield _Piece(work, item, results)

    def finished_ones() -> Iterator[tuple[T, LectureTimes]]:
        while waiting and waiting[0][1] and results is not None:
            item, _ = waiting.popleft()
            timed, log = results.read_with_log(item.id)
            _emit(log)
            yield item, timed

    done = executor.map(_run, pieces(), title) if batched is None else _run_batched(batched, pieces())
    for timed, log in done:
        yield from finished_ones()
        _emit(log)
        if isinstance(timed, DataError):
            raise timed
        yield waiting.popleft()[0], timed
    yield from finished_ones()


class Transcribed(Item, Protocol):
    """An item with its transcript."""

    @property
    def words(self) -> Sequence[str]:
        """The transcript's units."""


C = TypeVar("C", bound=Transcribed)


def finish_each(
    items: Iterable[C], timed: Iterable[tuple[Item, LectureTimes]], results: Results | None
) -> Iterator[tuple[C, WordTimes, NDArray[np.int64]]]:
    """As units_to_words.finish_times, one lecture after the other: yields (lecture, times, stretches of speech).

    Args:
      items: the lectures, which are gone through again after `timed`, since only all together show the lag.
      timed: of time_each.
      results: where it keeps the results; None: they stay in memory here.
    """
    lags: list[float] = []
    kept: list[LectureTimes] = []
    num_lectures = 0
    for _, result in timed:
        num_lectures += 1
        lags += onset_lags(result.times, result.regions)
        if results is None:
            kept.append(result)
    if not num_lectures:
        return
    lag = median_lag(lags)
    for number, item in enumerate(items):
        result = kept[number] if results is None else results.read(item.id)
        yield item, finished(result.times, item.words, result.num_units, result.regions, lag), result.regions


@dataclass(frozen=True)
class _Piece(Generic[T]):
    work: Work[T]
    item: T
    results: Results | None

    def keep(self, timed: LectureTimes, log: _Log) -> None:
        if self.results is not None:
            self.results.write(self.item, timed, log)


def _run(piece: _Piece[T]) -> tuple[LectureTimes | DataError, _Log]:
    """The result, or the error in the user's data, with what was logged before it."""
    with _collected_log() as log:
        try:
            timed = piece.work(piece.item)
            piece.keep(timed, log)
        except DataError as e:
            return e, log
    return timed, log


def _run_batched(
    batched: Callable[[Iterable[T]], Iterator[LectureTimes]], pieces: Iterator[_Piece[T]]
) -> Iterator[tuple[LectureTimes | DataError, _Log]]:
    ahead: deque[_Piece[T]] = deque()

    def items() -> Iterator[T]:
        for piece in pieces:
            ahead.append(piece)
            yield piece.item

    for timed in batched(items()):
        ahead.popleft().keep(timed, [])
        yield timed, []


_collecting = threading.Lock()
_collectors = 0


@contextmanager
def _collected_log() -> Iterator[_Log]:
    """The messages of this thread, which are not shown now; in another process they would be lost or mixed up."""
    global _collectors
    handler = _Collector()
    roots = [logging.getLogger(name) for name in _ROOTS]
    levels = [root.level for root in roots]
    with _collecting:
        _collectors += 1
        for root in roots:
            root.addHandler(handler)
            root.propagate = False
            if not root.isEnabledFor(logging.INFO):
                root.setLevel(logging.INFO)
    try:
        yield handler.log
    finally:
        with _collecting:
            _collectors -= 1
            for root, level in zip(roots, levels):
                root.removeHandler(handler)
                if not _collectors:
                    root.propagate = True
                    root.setLevel(level)


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.log: _Log = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.log.append((record.name, record.levelno, record.getMessage()))


def _emit(log: _Log) -> None:
    for name, level, message in log:
        logging.getLogger(name).log(level, "%s", message)
