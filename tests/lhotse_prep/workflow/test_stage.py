"""Stages run when they must, and leave complete outputs or none, also after kills, changes and errors."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lhotse_prep.workflow.entry import hyphenated, stage_parser
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, whole_file, write_jsonl
from lhotse_prep.workflow.locks import folder_lock
from lhotse_prep.workflow.stage import Input, Stage, read_done


class Place:
    """A stage that reads `source` and writes `out`, and counts how often it ran."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out = folder / "source.txt", folder / "made" / "out"
        self.source.write_text("one")
        self.num_runs = 0

    def stage(self, resumable: bool = False, **options: object) -> Stage:
        return Stage("cook", self.out, [Input(self.source)], options, resumable)

    def run(self, resumable: bool = False, **options: object) -> bool:
        """Run the stage; True unless it was up to date."""
        stage = self.stage(resumable, **options)
        if stage.is_done():
            return False
        with stage.work() as out:
            (out / "deep").mkdir(exist_ok=True)
            (out / "deep" / "result.txt").write_text(self.source.read_text() + str(options))
            self.num_runs += 1
        return True


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("resumable", [False, True])
def test_a_second_run_does_nothing(place: Place, resumable: bool) -> None:
    assert place.run(resumable) and not place.run(resumable)
    assert (place.out / "deep" / "result.txt").read_text() == "one{}"
    done = read_done(place.out)
    assert done is not None and done["stage"] == "cook" and list(done["outputs"]) == ["deep/result.txt"]


@pytest.mark.parametrize("resumable", [False, True])
def test_changed_option_or_input_runs_again(place: Place, resumable: bool) -> None:
    place.run(resumable, rate=1)
    assert place.run(resumable, rate=2) and not place.run(resumable, rate=2)
    place.source.write_text("two")
    assert place.run(resumable, rate=2)
    assert (place.out / "deep" / "result.txt").read_text() == "two{'rate': 2}"


def test_the_same_input_written_again_does_not_run_the_stage_again(place: Place) -> None:
    place.run()
    place.source.write_text("one")
    os.utime(place.source, (1, 1))
    assert not place.run()


def test_missing_output_or_damaged_mark_runs_again(place: Place) -> None:
    place.run()
    (place.out / "deep" / "result.txt").unlink()
    assert place.run()
    for damaged in ("", "{", "[]", "{}"):
        (place.out / ".done").write_text(damaged)
        assert place.run()


def test_files_of_an_older_run_are_removed(place: Place) -> None:
    place.run()
    (place.out / "stray.txt").touch()
    place.run(rate=2)
    assert [p.name for p in place.out.rglob("*.txt")] == ["result.txt"]
    assert [p.name for p in place.out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("had_output", [False, True])
def test_an_error_leaves_the_old_output(place: Place, had_output: bool) -> None:
    if had_output:
        place.run()
    stage = place.stage(rate=2)
    assert not stage.is_done()
    with pytest.raises(RuntimeError), stage.work() as out:
        (out / "half.txt").write_text("half")
        raise RuntimeError
    assert place.out.exists() == had_output
    assert not (place.out / "half.txt").exists()
    assert place.run() is not had_output
    assert place.run(rate=2) and not (place.out / "half.txt").exists()


KILLED = """
import sys, time
from pathlib import Path
from lhotse_prep.workflow.stage import Input, Stage
out, resumable = Path(sys.argv[1]), sys.argv[2] == "True"
stage = Stage("cook", out, [Input(Path(sys.argv[3]))], {}, resumable)
assert not stage.is_done()
with stage.work() as work:
    (work / "half.txt").write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


def start_and_wait(place: Place, project: Path, resumable: bool) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(place.out), str(resumable), str(place.source)]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def kill_in_the_middle(place: Place, project: Path, resumable: bool) -> None:
    with start_and_wait(place, project, resumable) as process:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)


def test_a_kill_leaves_no_unfinished_output(place: Place, project: Path) -> None:
    kill_in_the_middle(place, project, resumable=False)
    assert not place.out.exists()
    with pytest.raises(DataError, match="--stage 3"):
        _ = Stage("eat", place.out / "x", [Input(place.out, 3)], {}).key
    assert place.run() and not (place.out / "half.txt").exists()


@pytest.mark.parametrize("resumable", [False, True])
def test_two_runs_cannot_write_the_same_folder_at_once(place: Place, project: Path, resumable: bool) -> None:
    with start_and_wait(place, project, resumable) as process:
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        with pytest.raises(DataError, match=rf"out is being written by another run \(process {process.pid}\)"):
            place.run(resumable)
        (half,) = place.out.parent.glob("*out*/half.txt")
        assert half.read_text() == "half"
        process.kill()
    assert place.run(resumable) and not place.run(resumable)


FORKED = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from lhotse_prep.workflow.locks import folder_lock
context = multiprocessing.get_context("fork")
started = context.Event()
def work():
    started.set()
    time.sleep(60)
with folder_lock(Path(sys.argv[1])):
    worker = context.Process(target=work)
    worker.start()
    started.wait()  # a fork closes the lock before it does anything else
    print(worker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_outlives_its_killed_parent_keeps_no_folder_locked(project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKED, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.wait(timeout=30)
        try:
            os.kill(worker, 0)  # it is still running
            with folder_lock(tmp_path / "out"):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_killed_training_is_resumed(place: Place, project: Path) -> None:
    kill_in_the_middle(place, project, resumable=True)
    assert read_done(place.out) is None
    with place.stage(resumable=True).work() as out:
        assert (out / "half.txt").read_text() == "half"
    assert place.stage(resumable=True).is_done()


def test_work_from_other_inputs_is_moved_away_and_not_resumed(place: Place, project: Path) -> None:
    kill_in_the_middle(place, project, resumable=True)
    place.source.write_text("two")
    with place.stage(resumable=True).work() as out:
        assert not (out / "half.txt").exists()
    (old_work,) = place.out.parent.glob("out.before-*")
    assert (old_work / "half.txt").exists()


def test_only_outputs_of_a_stage_count_as_its_input_to_another(place: Place, tmp_path: Path) -> None:
    place.run()

    def eat() -> Stage:
        return Stage("eat", tmp_path / "eaten", [Input(place.out, 3)], {})

    with eat().work():
        pass
    (place.out / "later.txt").touch()  # such as decoding results inside a training folder
    assert eat().is_done()
    place.run(rate=2)
    assert not eat().is_done()


def test_a_missing_input_is_an_error_that_names_its_stage(place: Place) -> None:
    with pytest.raises(DataError, match=r"made/out is missing or unfinished: stage 3 .*\./run\.sh --stage 3"):
        Stage("eat", place.out.parent / "eaten", [Input(place.out, 3)], {}).is_done()
    place.out.mkdir(parents=True)  # begun, but not finished
    with pytest.raises(DataError, match="stage 3"):
        Stage("eat", place.out.parent / "eaten", [Input(place.out, 3)], {}).is_done()
    place.source.unlink()
    with pytest.raises(DataError, match=r"no such file or folder: .*source\.txt"):
        place.run()


def test_the_key_depends_on_contents_kinds_of_files_places_and_options(tmp_path: Path) -> None:
    for name, content in (("a.ctm", "x"), ("b.ctm", "x"), ("a.jsonl", "x"), ("c.ctm", "y")):
        (tmp_path / name).write_text(content)
        (tmp_path / name[:3]).mkdir(exist_ok=True)
        (tmp_path / name[:3] / name).write_text(content)

    def key(*names: str, v: int = 1) -> str:
        return Stage("s", tmp_path / "o", [Input(tmp_path / n) for n in names], {"v": v}).key

    different = [("a.ctm",), ("a.jsonl",), ("c.ctm",), ("a.ctm", "c.ctm"), ("c.ctm", "a.ctm"), ("a.c",), ("b.c",)]
    assert len({key(*names, v=v) for names in different for v in (1, 2)}) == 14
    assert key("a.ctm") == key("b.ctm"), "what a user's file is called, and where it lies, changes no result"


def test_whole_file_has_the_old_content_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with whole_file(path) as f:
        f.write("old")
    with pytest.raises(RuntimeError), whole_file(path) as f:
        f.write("new")
        f.flush()
        assert path.read_text() == "old"
        raise RuntimeError
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_jsonl_round_trip_and_damaged_lines(tmp_path: Path) -> None:
    rows = [{"id": "week1", "text": "機 器 a\u2028b"}, {}, {"x": [1.5, None]}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert read_jsonl(tmp_path / "rows.jsonl") == rows
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(DataError, match="line 2: not JSON"):
        read_jsonl(tmp_path / "rows.jsonl")
    with pytest.raises(DataError, match="no file"):
        read_jsonl(tmp_path / "none.jsonl")
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"b": "\xe6\x88\x91"}\r\n')  # as Windows writes it
    assert read_jsonl(tmp_path / "rows.jsonl") == [{"a": 1}, {"b": "我"}]
    (tmp_path / "rows.jsonl").write_bytes('{"a": 1}\n{"b": "我"}\n'.encode("big5"))
    with pytest.raises(DataError, match=r"rows\.jsonl, line \d: not JSON"):
        read_jsonl(tmp_path / "rows.jsonl")


def test_underscores_in_options_become_hyphens_and_values_stay() -> None:
    assert hyphenated(["--stop_stage", "a_b", "--exp_dir=x_y=z", "-h", "c_d"]) == [
        "--stop-stage",
        "a_b",
        "--exp-dir=x_y=z",
        "-h",
        "c_d",
    ]


@pytest.mark.parametrize("argv", [["--dat", "x"], ["--nonsense", "1"], ["stray"]])
def test_an_unknown_option_is_an_error(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        stage_parser("A stage.").parse_args(argv)
    assert error.value.code == 2 and "unrecognized arguments" in capsys.readouterr().err


MAIN = """
import logging, sys
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.entry import run_main
def main(argv):
    if argv == ["log"]:
        logging.info("all is well")
        logging.warning("this is odd")
        return
    if argv == ["user"]:
        raise ConfigError("rate must be > 0, got -1")
    if argv == ["file"]:
        open("/nonexistent/x")
    if argv == ["wait"]:
        print("waiting", flush=True)
        import time
        time.sleep(60)
    raise ValueError("a bug")
run_main(main)
"""


def start_main(project: Path, argument: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAIN, argument]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("argument", "message"),
    [("user", "rate must be > 0, got -1"), ("file", "No such file or directory: /nonexistent/x")],
)
def test_an_error_of_the_user_is_one_line(project: Path, argument: str, message: str) -> None:
    with start_main(project, argument) as process:
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr.count("\n") == 1 and stderr.rstrip().endswith(f"error: {message}")


def test_log_lines_have_time_level_and_place(project: Path) -> None:
    with start_main(project, "log") as process:
        _, stderr = process.communicate(timeout=30)
    line = r"\d+-\d+-\d+ \d+:\d+:\d+ {} \(\S+:\d+:main\) {}\n"
    assert re.fullmatch(line.format("INFO", "all is well") + line.format("WARNING", "this is odd"), stderr)


def test_a_bug_keeps_its_traceback(project: Path) -> None:
    with start_main(project, "bug") as process:
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and "Traceback" in stderr and "a bug" in stderr


def test_ctrl_c_exits_with_130_and_prints_nothing(project: Path) -> None:
    with start_main(project, "wait") as process:
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and stderr == ""


def test_done_has_the_duration_and_the_time(place: Place) -> None:
    place.run()
    done = json.loads((place.out / ".done").read_text())
    assert done["seconds"] >= 0 and done["finished"][:2] == "20"
    assert done["cpu_seconds"] > 0
