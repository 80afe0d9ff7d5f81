"""All executors give the same results in the same order, and write the same bytes."""

from __future__ import annotations

import contextlib
import gzip
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from lhotse import CutSet, SupervisionSet, load_manifest

from lhotse_prep.corpora.detect import import_corpus
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.manifests.exact_times import as_segment
from lhotse_prep.manifests.files import write_manifest
from lhotse_prep.manifests.make import make_manifests
from lhotse_prep.text.config import TextConfig
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.windows.write import write_windows
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import (
    SerialExecutor,
    _limit_threads,
    _PoolExecutor,
    fresh_processes,
    open_executor,
    prepared_processes,
    thread_variables,
)
from tests.lhotse_prep.workflow import pieces
from tests.lhotse_prep.workflow.pieces import die, power, prepare, prepared_and_process, process_and_power

RATE = 16_000
PARTS = ("train", "dev", "test")


EXECUTORS = [
    ExecutorConfig("serial"),
    ExecutorConfig("processes", num_jobs=2),
    pytest.param(ExecutorConfig("dask", num_jobs=2), marks=pytest.mark.slow),  # it starts a cluster
]
SERIAL, PROCESSES = EXECUTORS[:2]


@pytest.mark.parametrize("config", EXECUTORS, ids=["serial", "processes", "dask"])
def test_results_in_order_and_errors(config: ExecutorConfig) -> None:
    with open_executor(config) as executor:
        assert list(executor.map(power, iter(range(30)), "powers")) == [x**2 for x in range(30)]
        assert list(executor.map(power, [], "nothing")) == []
        with pytest.raises(DataError, match="99 is bad"):
            list(executor.map(power, range(90, 100), "powers"))


def test_pieces_are_taken_as_workers_become_free() -> None:
    taken: list[int] = []

    def pieces() -> Iterator[int]:
        for piece in range(100):
            taken.append(piece)
            yield piece

    def submit(function: Callable[[int], int], piece: int) -> SimpleNamespace:
        return SimpleNamespace(result=lambda: function(piece), cancel=lambda: None)

    for number, result in enumerate(_PoolExecutor(submit, lambda: 3).map(operator.neg, pieces(), "pieces")):
        assert result == -number and len(taken) <= number + 12  # four of each worker
    assert number == 99
    taken.clear()
    for number, _ in enumerate(SerialExecutor().map(operator.neg, pieces(), "pieces"), 1):
        assert len(taken) == number


@pytest.mark.parametrize("num_jobs", [1, 2])
def test_prepared_processes_are_prepared_once_each(num_jobs: int) -> None:
    pieces.prepared.clear()
    with prepared_processes(num_jobs, prepare) as executor:
        prepared, processes = zip(*executor.map(prepared_and_process, range(6), "pieces"))
    assert all(values == [7] for values in prepared)
    assert (os.getpid() in processes) == (num_jobs == 1) and len(set(processes)) <= num_jobs


def test_fresh_processes_run_each_piece_in_a_new_process() -> None:
    with fresh_processes(2) as executor:
        processes, powers = zip(*executor.map(process_and_power, range(3), "powers"))
        assert powers == (0, 1, 4) and len({*processes, os.getpid()}) == 4
        with pytest.raises(DataError, match="99 is bad"):
            list(executor.map(power, [99], "powers"))
        with pytest.raises(DataError, match="dying: a process died"):
            list(executor.map(die, [1], "dying"))


INTERRUPTED = """
import sys, time
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import run_main
from lhotse_prep.workflow.executor import fresh_processes, open_executor, prepared_processes
import slow_piece
opened = {
    "prepared": lambda: prepared_processes(2, time.time),
    "processes": lambda: open_executor(ExecutorConfig("processes", num_jobs=2)),
    "fresh": lambda: fresh_processes(2),
}[sys.argv[1]]
def main(argv):
    with opened() as executor:
        list(executor.map(slow_piece.run, [f"{sys.argv[2]}/{i}" for i in range(6)], "pieces"))
if __name__ == "__main__":
    run_main(main)
"""
SLOW_PIECE = """
import pathlib, time
def run(path):
    pathlib.Path(path).touch()
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("kind", "everyone"), [("prepared", True), ("prepared", False), ("processes", True), ("fresh", False)]
)
def test_ctrl_c_ends_all_processes_at_once(project: Path, tmp_path: Path, kind: str, everyone: bool) -> None:
    """A terminal sends it to all processes of the command, `kill -INT` to one."""
    (tmp_path / "slow_piece.py").write_text(SLOW_PIECE)
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    (tmp_path / "begun").mkdir()
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "interrupted.py"), kind, str(tmp_path / "begun")],
        env={**os.environ, "PYTHONPATH": f"{project}:{project}/egs:{tmp_path}"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(list((tmp_path / "begun").iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    (os.killpg if everyone else os.kill)(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert len(list((tmp_path / "begun").iterdir())) == 2


@pytest.mark.parametrize(
    ("omp", "numba", "expected"),
    [
        (None, None, ("3", "3")),
        ("2", None, ("2", "2")),
        ("4,2", None, ("4,2", "4")),
        ("2", "5", ("2", "5")),
        ("0", None, ("0", "3")),
    ],
)
def test_numba_has_as_many_threads_as_openmp(
    monkeypatch: pytest.MonkeyPatch, omp: str | None, numba: str | None, expected: tuple[str, str]
) -> None:
    for name, value in (("OMP_NUM_THREADS", omp), ("NUMBA_NUM_THREADS", numba)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    variables = thread_variables(3)
    assert (variables["OMP_NUM_THREADS"], variables["NUMBA_NUM_THREADS"]) == expected


def test_modules_that_a_worker_has_already_imported_take_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba refuses more threads than it began with."""
    calls = []
    for name in ("torch", "numba"):
        module = SimpleNamespace(
            config=SimpleNamespace(NUMBA_NUM_THREADS=2), set_num_threads=lambda n, name=name: calls.append((name, n))
        )
        monkeypatch.setitem(sys.modules, name, module)
    for omp, numba in (("1", "1"), ("8", "8"), ("4,2", "4")):
        _limit_threads({"OMP_NUM_THREADS": omp, "NUMBA_NUM_THREADS": numba})
    assert calls == [("torch", 1), ("numba", 1), ("torch", 8), ("numba", 2), ("numba", 2)]


@pytest.mark.parametrize(
    "change", [{"kind": "threads"}, {"num_jobs": 0}, {"dask_scheduler": "somewhere"}], ids=lambda c: next(iter(c))
)
def test_wrong_values(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ExecutorConfig(**change)


def test_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    def refuse(address: str, timeout: float) -> None:
        raise OSError(f"Timed out trying to connect to {address}")

    monkeypatch.setattr(distributed, "Client", refuse)
    config = ExecutorConfig("dask", dask_scheduler="tcp://127.0.0.1:1")
    with pytest.raises(DataError, match="no Dask scheduler answers at tcp://127.0.0.1:1"), open_executor(config):
        pass


def test_a_scheduler_without_workers_is_an_error_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    class ClientWithoutWorkers(contextlib.nullcontext):  # type: ignore[type-arg]
        def wait_for_workers(self, num: int, timeout: float) -> None:
            raise TimeoutError(f"{num} workers did not come in {timeout} s")

    monkeypatch.setattr(distributed, "Client", lambda address, timeout: ClientWithoutWorkers())
    config = ExecutorConfig("dask", dask_scheduler="tcp://127.0.0.1:1")
    with pytest.raises(DataError, match="127.0.0.1:1 has had no worker for 120 s; start some"), open_executor(config):
        pass


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers, started by the commands that a user would run on a cluster."""
    folder = tmp_path_factory.mktemp("dask")
    address_file, python = folder / "scheduler.json", [sys.executable, "-m", "distributed.cli"]
    commands = [
        [
            *python[:2],
            "distributed.cli.dask_scheduler",
            "--port",
            "0",
            "--no-dashboard",
            "--host",
            "127.0.0.1",
            "--scheduler-file",
            str(address_file),
        ],
        [
            *python[:2],
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(address_file),
            "--nworkers",
            "2",
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(folder),
        ],
    ]
    with open(folder / "log", "w") as log:
        running = [subprocess.Popen(c, stdout=log, stderr=log) for c in commands]
        try:
            from distributed import Client

            deadline = time.monotonic() + 60
            while not address_file.exists():
                assert time.monotonic() < deadline and all(p.poll() is None for p in running), (
                    folder / "log"
                ).read_text()
                time.sleep(0.1)
            with Client(scheduler_file=str(address_file)) as client:
                client.wait_for_workers(2, timeout=60)
                address = client.scheduler.address
            yield address
        finally:
            for process in reversed(running):
                process.terminate()
            for process in running:
                process.wait(timeout=30)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve short lectures at 44.1 kHz; `table` beside the folder has nine utterances."""
    folder = tmp_path_factory.mktemp("corpus") / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(9):
        sf.write(folder.parent / "x.flac", rng.uniform(-0.3, 0.3, RATE), RATE)
        rows.append(
            {
                "audio": {"bytes": (folder.parent / "x.flac").read_bytes(), "path": f"u_{i}.flac"},
                "file": f"u_{i}.flac",
                "transcription": "我 們",
                "translation": "We.",
            }
        )
    (folder.parent / "table").mkdir()
    for part, part_rows in (("train", rows[:4]), ("dev", rows[4:6]), ("test", rows[4:])):
        table = pa.Table.from_pylist(part_rows)
        pq.write_table(table, folder.parent / "table" / f"{part}-0.parquet", row_group_size=2)
    for i in range(12):
        sf.write(folder / f"l{i:02d}.wav", rng.uniform(-0.3, 0.3, (44_100 * 2, 2)), 44_100)
        (folder / f"l{i:02d}.txt").write_text("我 們 講 bert")
        (folder / f"l{i:02d}.en.txt").write_text("We talk about BERT.")
    return folder


def digests_of_stages(corpus: Path, out: Path, config: ExecutorConfig) -> dict[str, str]:
    """{path: digest} of all files of stages 0, 1 and 4, with the output folder inside them replaced by OUT."""
    with open_executor(config) as executor:
        table = corpus.parent / "table"
        manifests = make_manifests(table, out / "u", CorpusConfig(), TextConfig(), CheckConfig(), executor)
        assert [len(manifests[part]["supervisions"]) for part in PARTS] == [4, 2, 3]
        import_corpus(corpus, out / "source", CorpusConfig(), CheckConfig(), executor)
        make_manifests(out / "source", out / "m", CorpusConfig(), TextConfig(), CheckConfig(), executor)
        (out / "a").mkdir()
        for part in PARTS:
            whole = load_manifest(out / f"m/ml2021_supervisions_{part}.jsonl.gz", SupervisionSet)
            write_manifest(out / f"a/ml2021_supervisions_{part}.jsonl.gz", map(as_segment, whole))
        (out / "w").mkdir()
        write_windows(out / "m", out / "a", out / "w", out / "w", WindowConfig(), executor)
    digests = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        digests[str(path.relative_to(out))] = digest_bytes(content.replace(str(out).encode(), b"OUT"))
    return digests


def test_same_bytes_from_processes_and_from_dask(corpus: Path, scheduler: str, tmp_path: Path, monkeypatch) -> None:  # noqa: ANN001
    monkeypatch.setattr("lhotse_prep.windows.features.CUTS_PER_FILE", 3)
    serial = digests_of_stages(corpus, tmp_path / "serial", SERIAL)
    assert sum(name.endswith(".lca") for name in serial) >= 5 and sum(n.endswith(".flac") for n in serial) == 21
    assert digests_of_stages(corpus, tmp_path / "processes", PROCESSES) == serial
    assert digests_of_stages(corpus, tmp_path / "dask", ExecutorConfig("dask", dask_scheduler=scheduler)) == serial
    cuts = load_manifest(tmp_path / "dask/w/ml2021_cuts_train.jsonl.gz", CutSet)
    assert all(c.load_features().shape == (c.num_frames, 80) for c in cuts)
