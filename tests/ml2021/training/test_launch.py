"""Options for several processes, and what happens to processes that are started."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.training import launch
from ml2021.training.launch import (
    Processes,
    add_process_options,
    follow,
    on_cpu_by_default,
    processes_of,
    run_processes,
    run_worker,
)
from ml2021.training.nodes import commands_of, free_port
from tests.ml2021.training.several_processes import in_processes
from tests.processes import wait_until_gone


def parse(*arguments: str) -> Processes:
    parser = argparse.ArgumentParser()
    add_process_options(parser)
    return processes_of(parser.parse_args(arguments))


def test_options_give_processes() -> None:
    assert parse() == Processes() and parse().size == 1 and not parse().follows
    assert parse("--num-processes", "3").size == 3
    machines = parse("--num-processes", "4", "--nodes", "2", "--node-rank", "1", "--master-addr", "h:1")
    assert machines == Processes(4, 2, 1, "h:1") and machines.size == 8 and machines.follows


@pytest.mark.parametrize(
    ("arguments", "has_gpu", "size"),
    [([], False, 2), ([], True, 1), (["--num-processes", "1"], False, 1), (["--num-processes", "3"], False, 3)],
)
def test_without_a_gpu_the_configuration_gives_the_number_of_processes(
    arguments: list[str], has_gpu: bool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = argparse.ArgumentParser()
    add_process_options(parser)
    args = parser.parse_args(arguments)
    monkeypatch.setattr(Path, "glob", lambda *_: iter([Path("/dev/nvidia0")] if has_gpu else []))
    monkeypatch.setattr("ml2021.training.launch.share_of_cores", lambda _: 2)
    assert on_cpu_by_default(processes_of(args), args, 4 if not arguments else 2).size == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-processes", "0"], "--num-processes must be at least 1, got 0"),
        (["--num-gpus", "-1"], "--num-gpus must be at least 1, got -1"),
        (["--num-gpus", "2", "--num-processes", "2"], "not both"),
        (["--nodes", "0"], "--nodes must be at least 1"),
        (["--nodes", "2", "--node-rank", "2", "--master-addr", "h"], "--node-rank must be from 0 to 1 with --nodes 2"),
        (["--node-rank", "1"], "--node-rank must be from 0 to 0 with --nodes 1, got 1"),
        (["--nodes", "2"], "--nodes 2 needs --master-addr"),
        (["--master-addr", "h"], "--master-addr is only for several machines"),
        (["--nodes", "2", "--master-addr", "h:http"], "got 'h:http'"),
        (["--nodes", "2", "--master-addr", "h:70000"], "port from 1 to 65535"),
    ],
)
def test_contradictions_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(*arguments)


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="--num-gpus 2: torch sees no GPU.*give --num-processes"):
        parse("--num-gpus", "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigError, match="--num-gpus 2: this machine has only 1"):
        parse("--num-gpus", "2")
    assert parse("--num-gpus", "1") == Processes(on_gpus=True)


def test_under_torchrun_the_other_ranks_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert parse().size == 4 and parse().follows
    with pytest.raises(ConfigError, match="torchrun has started this process"):
        parse("--num-processes", "4")


def main(argv: list[str]) -> None:
    """The module that test_ranks_of_torchrun_follow_rank_0 runs in all ranks."""
    from ml2021.training.distributed import in_world

    with in_world() as (world, _):
        total = world.sum({"ranks": world.rank + 1.0})["ranks"]
        Path(argv[0], f"{argv[1]}-{world.rank}").write_text(str(total))


def test_ranks_of_torchrun_follow_rank_0(tmp_path: Path) -> None:
    """Each training in a group of its own."""
    in_processes(two_trainings, 3, tmp_path, join=False)
    texts = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert texts == {f"{name}-{rank}": "6.0" for name in ("first", "second") for rank in range(3)}


def two_trainings(folder: Path) -> None:
    processes = parse()
    if processes.follows:
        follow(processes)
        return
    for name in ("first", "second"):
        run_processes(__name__, [str(folder), name], processes)
    launch._end_ranks(os.getpid())  # which runs at the end of a script


SCRIPT = """
import sys
from lhotse_prep.workflow.entry import run_main
from ml2021.training.launch import Processes, follow, run_processes

def main(argv):
    nodes, rank = int(argv[0]), int(argv[1])
    processes = Processes(2 // nodes, nodes, rank, argv[2])
    if processes.follows:
        follow(processes)
    else:
        run_processes("ml2021.test_worker", argv[3:], processes)

run_main(main)
"""
WORKER = """
import os, sys, time
from pathlib import Path
from lhotse_prep.workflow.errors import DataError
from ml2021.training.distributed import in_world
from ml2021.training.launch import run_worker

def main(argv):
    with in_world() as (world, _):
        total = world.sum({"ranks": world.rank + 1.0})["ranks"]
        Path(argv[0], str(world.rank)).write_text(f"{total} {os.getpid()}")
        if argv[1] == "fail":
            raise DataError("no such lecture: a")
        if argv[1] == "bug" and world.rank == 1:
            raise ZeroDivisionError("one bug")
        if argv[1] == "wait":
            for i in range(600):
                time.sleep(0.1)
                world.wait()

if __name__ == "__main__":
    run_worker(main)
"""


class Launched:
    """A script that runs two processes, in a folder of its own; what they do is its argument."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder = folder
        (folder / "worker").mkdir()
        (folder / "ranks").mkdir()
        (folder / "worker" / "test_worker.py").write_text(WORKER)
        hook = f"import ml2021; ml2021.__path__.append({str(folder / 'worker')!r})"
        (folder / "worker" / "sitecustomize.py").write_text(hook)
        self.environment = os.environ | {"PYTHONPATH": f"{folder / 'worker'}:{project}:{project}/egs"}
        self.environment["OMP_NUM_THREADS"] = "1"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.environment["TMPDIR"] = str(self.temporary)

    def start(self, what: str, nodes: int = 1, rank: int = 0, address: str = "") -> subprocess.Popen[str]:
        arguments = [str(nodes), str(rank), address, str(self.folder / "ranks"), what]
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, *arguments],
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for_ranks(self) -> list[int]:
        """The ids of both processes once they have met."""
        end = time.monotonic() + 200
        while len(texts := [p.read_text() for p in sorted((self.folder / "ranks").iterdir())]) < 2 or not all(texts):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert [text.split()[0] for text in texts] == ["3.0", "3.0"]
        return [int(text.split()[1]) for text in texts]


@pytest.fixture
def launched(tmp_path: Path, project: Path) -> Launched:
    return Launched(tmp_path, project)


@pytest.mark.slow
def test_an_error_of_all_processes_is_one_line(launched: Launched) -> None:
    process = launched.start("fail")
    _, log = process.communicate(timeout=200)
    assert process.returncode == 1 and log == "-c: error: no such lecture: a\n"
    assert not list(launched.temporary.iterdir())


@pytest.mark.slow
def test_a_bug_shows_its_traceback_and_not_those_that_follow_from_it(launched: Launched) -> None:
    _, log = launched.start("bug").communicate(timeout=200)
    assert log.count("Traceback") == 1 and "ZeroDivisionError: one bug" in log
    assert log.splitlines()[-1] == "-c: error: a training process failed: one bug (see its traceback above)"


@pytest.mark.slow
def test_a_killed_process_ends_the_others_with_one_line(launched: Launched) -> None:
    process = launched.start("wait")
    pids = launched.wait_for_ranks()
    os.kill(pids[1], signal.SIGKILL)
    _, log = process.communicate(timeout=60)
    expected = (
        "training process 1 was ended by SIGKILL, as the system does when memory runs out; the others were stopped"
    )
    assert process.returncode == 1 and log == f"-c: error: {expected}\n"
    wait_until_gone(pids)


@pytest.mark.slow
def test_interrupt_ends_all_without_a_traceback(launched: Launched) -> None:
    process = launched.start("wait")
    pids = launched.wait_for_ranks()
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    _, log = process.communicate(timeout=60)
    assert process.returncode == 130 and log == ""
    wait_until_gone(pids)


@pytest.mark.slow
def test_killing_the_stage_leaves_no_process_behind(launched: Launched) -> None:
    process = launched.start("wait")
    pids = launched.wait_for_ranks()
    process.kill()
    process.communicate(timeout=60)
    wait_until_gone(pids)


@pytest.mark.slow
def test_two_machines_train_together(launched: Launched) -> None:
    address = f"localhost:{free_port()}"
    machines = [launched.start("end", 2, rank, address) for rank in (1, 0)]
    logs = [machine.communicate(timeout=200)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], logs
    launched.wait_for_ranks()


def test_errors_of_a_machine_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml2021.training.nodes.LONGEST_WAIT", 0.1)
    with pytest.raises(DataError, match="does not answer.*start ./run.sh with --node-rank 0 there"):
        next(commands_of("localhost", free_port(), 1, 2))


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_modules_of_stages_say_that_they_are_not_commands(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["module", *arguments])
    with pytest.raises(SystemExit, match=r"error: a stage of run\.sh runs this module .*: run the stage"):
        run_worker(lambda argv: pytest.fail("was run"))


def test_module_of_a_stage_is_run_with_its_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["module", '{"a": 1}'])
    jobs: list[str] = []
    run_worker(jobs.extend)
    assert jobs == ['{"a": 1}']
