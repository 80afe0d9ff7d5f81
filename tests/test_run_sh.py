"""run.sh: options, order of stages, messages. A stub of Python does no work."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAGES = [
    "make_corpus",
    "make_manifests",
    "make_lang",
    "align",
    "make_windows",
    "asr_train",
    "asr_decode",
    "make_bitext",
    "mt_train",
    "mt_decode",
    "st",
    "export",
    "make_report",
]
STUB = """#!/bin/bash
# Records its folder and arguments; fails at the stage FAIL, waits at the stage WAIT.
[[ $1 == -c ]] && exec REAL_PYTHON "$@"
echo "$PWD$(printf '\\t%s' "$@")" >>"$CALLS" # in one piece: two stages may run at the same time
[[ -z ${WAIT:-} || $1 != *$WAIT* ]] || { echo $$ >"$CALLS.waiting"; exec sleep 60; }
[[ -z ${FAIL:-} || $1 != *$FAIL* ]] || exit "${CODE:-1}"
"""


def on_cores(count: int) -> list[str]:
    """The beginning of a command that may use so many cores."""
    cores = sorted(os.sched_getaffinity(0))[:count] if hasattr(os, "sched_getaffinity") else []
    return ["taskset", "-c", ",".join(map(str, cores))] if cores else []


def can_run_side_by_side() -> bool:
    """Whether this machine has two cores to run on, and no GPU."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1 and not has_gpu


side_by_side = pytest.mark.skipif(not can_run_side_by_side(), reason="one core, or a GPU")


class House:
    """A folder with run.sh, path.sh, conf/ and a stub of Python."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.root, self.calls_file = folder / "house", folder / "calls"
        self.root.mkdir()
        for name in ("run.sh", "path.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(project / name, self.root)
        for name in ("mini", "ml2021"):
            (self.root / "conf" / name).mkdir(parents=True)
        self.python = folder / "python"
        self.python.write_text(STUB.replace("REAL_PYTHON", sys.executable))
        self.python.chmod(0o755)

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "ML2021_PYTHON": str(self.python),
            "CALLS": str(self.calls_file),
            **variables,
        }

    def run(
        self, *arguments: str, cwd: Path | None = None, num_cores: int = 1, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run run.sh. With one core, no stage runs beside another."""
        return subprocess.run(
            [*on_cores(num_cores), str(self.root / "run.sh"), *arguments],
            cwd=cwd or self.root,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def calls(self) -> list[tuple[str, dict[str, str]]]:
        """(stage, options) of each call since the last time; all calls must be in the project's folder."""
        lines = self.calls_file.read_text().splitlines() if self.calls_file.exists() else []
        self.calls_file.unlink(missing_ok=True)
        calls = []
        for line in lines:
            folder, script, *options = line.split("\t")
            assert folder == str(self.root)
            pairs = dict(zip(options[::2], options[1::2], strict=True))
            calls.append((script.removeprefix("local/").removesuffix(".py"), pairs))
        return calls


@pytest.fixture
def house(tmp_path: Path, project: Path) -> House:
    return House(tmp_path, project)


def test_all_stages_run_in_order_on_the_mini_corpus(house: House) -> None:
    result = house.run()
    assert result.returncode == 0, result.stderr
    calls = house.calls()
    assert [name for name, _ in calls] == STAGES
    common = {"--conf": "conf/mini", "--data": "data/mini", "--exp": "exp/mini"}
    assert calls[0][1] == {"--corpus": "mini", **common}
    assert all(options == common for _, options in calls[1:])
    lines = re.findall(
        r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(run\.sh:\d+:main\) Stage (\d+): ([a-z-]+)$", result.stderr, re.M
    )
    assert [int(number) for number, _ in lines] == list(range(13)) and lines[3][1] == "align"
    assert "Done: stages 0 to 12" in result.stderr


def test_every_stage_is_there_and_every_executable_is_a_stage(project: Path) -> None:
    named = re.findall(r"^run_stage \d+ [a-z-]+ (local/\w+\.py)", (project / "run.sh").read_text(), re.M)
    assert [Path(name).stem for name in named] == STAGES
    others = ["local/inspect_cuts.py", "local/install.py"]  # no stages
    assert sorted([*named, *others]) == sorted(str(p.relative_to(project)) for p in (project / "local").glob("*.py"))
    assert all(os.access(project / name, os.X_OK) for name in named)


@pytest.mark.parametrize("arguments", [["--stage", "3", "--stop-stage", "5"], ["--stop_stage=05", "--stage=03"]])
def test_stages_are_chosen_in_either_spelling(house: House, arguments: list[str]) -> None:
    assert house.run(*arguments).returncode == 0
    assert [name for name, _ in house.calls()] == STAGES[3:6]


def test_aligner_model_goes_to_stage_3_alone(house: House, tmp_path: Path) -> None:
    assert house.run("--aligner-model", "words.ctm", cwd=tmp_path).returncode == 0
    models = {name: options.get("--aligner-model") for name, options in house.calls()}
    assert models == dict.fromkeys(STAGES) | {"align": f"{tmp_path}/words.ctm"}
    assert house.run("--aligner-model", "none", "--stage", "3", "--stop-stage", "3", cwd=tmp_path).returncode == 0
    assert house.calls()[0][1]["--aligner-model"] == "none"  # no path


def test_redo_goes_to_the_chosen_stages_and_is_repeated_in_the_advice(house: House) -> None:
    result = house.run("--stage", "4", "--redo", "--stop-stage", "5", FAIL="asr_train")
    assert [line.split("\t")[-1] for line in house.calls_file.read_text().splitlines()] == ["--redo"] * 2
    assert "Continue with: ./run.sh --redo --stage 5" in result.stderr
    house.calls_file.unlink()
    assert house.run("--redo=1").returncode == 2


def test_executor_goes_to_the_stages_that_can_use_it(house: House) -> None:
    assert house.run("--num-jobs", "2", "--executor=dask", "--dask_scheduler", "tcp://a:1").returncode == 0
    expected = {"--num-jobs": "2", "--executor": "dask", "--dask-scheduler": "tcp://a:1"}
    for name, options in house.calls():
        used = {k: v for k, v in options.items() if k in expected}
        assert used == (expected if name in ("make_corpus", "make_manifests", "align", "make_windows") else {})


TRAINING = ("align", "asr_train", "asr_decode", "mt_train")


def test_numbers_of_processes_go_to_the_stages_that_train(house: House) -> None:
    assert house.run("--num-processes", "2").returncode == 0
    calls = house.calls()
    assert calls.pop(0) == ("-m", {"ml2021.training.launch": "check", "--num-processes": "2"})
    used = {name: options.get("--num-processes") for name, options in calls}
    assert used == {name: "2" if name in TRAINING else None for name in STAGES}
    result = house.run("--num_gpus=8", "--stage", "4", FAIL="asr_train")
    assert "Continue with: ./run.sh --num-gpus 8 --stage 5" in result.stderr


def test_impossible_processes_end_the_run_before_anything_else(house: House) -> None:
    result = house.run("--num-gpus", "2", FAIL="-m", CODE="1")
    assert result.returncode == 1 and len(house.calls()) == 1 and "Stage 0" not in result.stderr


def test_machine_0_does_everything_and_serves_the_others(house: House) -> None:
    machines = ["--nodes", "2", "--num-gpus", "4", "--master-addr", "a:1"]
    result = house.run(*machines)
    assert result.returncode == 0, result.stderr
    options = dict(zip(machines[::2], machines[1::2]))
    calls = house.calls()
    assert ("-m", {"ml2021.training.launch": "serve", **options}) in calls
    stages = [(name, given) for name, given in calls if name != "-m"]
    assert [name for name, _ in stages] == STAGES
    assert all((options.items() <= given.items()) == (name in TRAINING) for name, given in stages)


def test_other_machines_only_follow_and_say_so(house: House) -> None:
    machines = ["--nodes", "2", "--node-rank", "1", "--master-addr", "a:1"]
    result = house.run(*machines)
    options = dict(zip(machines[::2], machines[1::2]))
    commands = [{"ml2021.training.launch": what, **options} for what in ("check", "follow")]
    assert result.returncode == 0 and house.calls() == [("-m", command) for command in commands]
    assert (
        "Machine 1 takes part in the trainings of stages 3, 5, 6 and 8; machine 0 does everything else" in result.stderr
    )


def test_other_ranks_of_torchrun_only_run_the_stages_that_train(house: House) -> None:
    assert house.run(RANK="0").returncode == 0
    assert [name for name, _ in house.calls()] == STAGES
    assert house.run(RANK="1").returncode == 0
    assert [name for name, _ in house.calls()] == list(TRAINING)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-gpus", "0"], "--num-gpus must be a whole number from 1 on, got '0'"),
        (["--num-processes=-2"], "--num-processes must be a whole number from 1 on, got '-2'"),
        (["--nodes", "two"], "--nodes must be a whole number from 1 on, got 'two'"),
        (["--node-rank", "1.5"], "--node-rank must be a whole number from 0 on, got '1.5'"),
        (["--nonsense", "1"], "unknown option --nonsense; options: --stage --stop-stage"),
        (["--no_sense=1"], "unknown option --no-sense"),
        (["--stage", "13"], "--stage must be a stage from 0 to 12, got '13'. Stages: 0 corpus"),
        (["--stop-stage", "99"], "--stop-stage must be a stage from 0 to 12, got '99'"),
        (["--stage", "-1"], "--stage must be a stage from 0 to 12, got '-1'"),
        (["--stage", "align"], "got 'align'"),
        (["--stage", "5", "--stop-stage", "3"], "--stage 5 is after --stop-stage 3"),
        (["--stage"], "option --stage needs a value"),
        (["--stage", "--corpus", "x"], "option --stage needs a value"),
        (["--corpus="], "option --corpus needs a value"),
        (["3"], "unexpected argument '3'"),
        (["-s", "3"], "unexpected argument '-s'"),
        (["--conf", "conf/none"], "no folder conf/none"),
        (["--corpus", "/"], "name them with --data and --exp"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(house: House, arguments: list[str], message: str) -> None:
    result = house.run(*arguments)
    assert result.returncode == 2 and house.calls() == []
    assert result.stderr.startswith("run.sh: error: ") and message in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--stage", "3", "--help"]])
def test_help_names_options_and_stages(house: House, arguments: list[str]) -> None:
    result = house.run(*arguments)
    assert result.returncode == 0 and house.calls() == []
    for part in ("--redo", "--stage", "--stop-stage", "--corpus", "--conf", "--data", "--exp", "3 align", "12 report"):
        assert part in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_corpus_names_its_folders(house: House) -> None:
    house.run("--corpus", "downloads/ml2021_long.parquet", "--stop-stage", "0")
    assert house.calls() == [
        (
            "make_corpus",
            {
                "--corpus": "downloads/ml2021_long.parquet",
                "--conf": "conf/ml2021",
                "--data": "data/ml2021_long",
                "--exp": "exp/ml2021_long",
            },
        )
    ]


def test_paths_are_relative_to_the_users_folder(house: House, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    (elsewhere / "my conf").mkdir(parents=True)
    arguments = ["--corpus", "lectures/", "--conf", "my conf", "--data", "d", "--exp=/abs/e", "--stop-stage", "0"]
    assert house.run(*arguments, cwd=elsewhere).returncode == 0
    here = str(elsewhere)
    options = {"--corpus": f"{here}/lectures", "--conf": f"{here}/my conf", "--data": f"{here}/d", "--exp": "/abs/e"}
    assert house.calls() == [("make_corpus", options)]


def test_defaults_are_relative_to_the_project(house: House, tmp_path: Path) -> None:
    house.run("--stop-stage", "0", cwd=tmp_path)
    assert house.calls()[0][1] == {
        "--corpus": "mini",
        "--conf": "conf/mini",
        "--data": "data/mini",
        "--exp": "exp/mini",
    }


def test_failing_stage_ends_the_run_and_says_how_to_continue(house: House) -> None:
    result = house.run("--data", "my data", "--stage", "2", FAIL="make_windows", CODE="7")
    assert result.returncode == 7
    assert [name for name, _ in house.calls()] == STAGES[2:5]
    assert (
        "Stage 4 (windows) failed; see the error above. Continue with: ./run.sh --data my\\ data --stage 4"
        in result.stderr
    )
    assert "Done" not in result.stderr


def test_interrupted_stage_is_reported(house: House) -> None:
    result = house.run(FAIL="asr_train", CODE="130")
    assert result.returncode == 130
    assert "Interrupted in stage 5 (asr-train). Continue with: ./run.sh --stage 5" in result.stderr


def test_interrupt_ends_the_run(house: House) -> None:
    with subprocess.Popen(
        [*on_cores(1), str(house.root / "run.sh")],
        cwd=house.root,
        env=house.environment(WAIT="make_lang"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        started = time.time()
        while not Path(f"{house.calls_file}.waiting").exists():
            assert time.time() - started < 30
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert [name for name, _ in house.calls()] == STAGES[:3]


@side_by_side
def test_translator_trains_beside_the_recogniser_and_not_again(house: House) -> None:
    result = house.run(num_cores=2)
    assert result.returncode == 0, result.stderr
    calls = [name for name, _ in house.calls()]
    assert sorted(calls) == sorted(STAGES)
    assert [name for name in calls if name != "mt_train"] == [
        *STAGES[:5], "make_bitext", "asr_train", "asr_decode", *STAGES[9:]
    ]  # fmt: skip
    assert "make_bitext" in calls[: calls.index("mt_train")] and calls.index("mt_train") < calls.index("asr_decode")
    assert "Stage 8: mt-train, beside stage 5; its log is exp/mini/mt-train.log" in result.stderr
    assert (house.root / "exp" / "mini" / "mt-train.log").exists()


@side_by_side
def test_translator_that_fails_beside_the_recogniser_is_tried_again_in_its_turn(house: House) -> None:
    result = house.run("--corpus", "mini", num_cores=2, FAIL="mt_train", CODE="7")
    assert result.returncode == 7
    calls = [name for name, _ in house.calls()]
    assert calls.count("mt_train") == 2 and calls[-2:] == ["asr_decode", "mt_train"]
    assert "Continue with: ./run.sh --corpus mini --stage 8" in result.stderr


@side_by_side
def test_a_corpus_without_sentence_pairs_still_gives_a_recogniser(house: House) -> None:
    result = house.run(num_cores=2, FAIL="make_bitext")
    assert result.returncode == 1
    assert [name for name, _ in house.calls()] == [*STAGES[:5], "make_bitext", "asr_train", "asr_decode", "make_bitext"]
    assert result.stderr.count("Continue with: ./run.sh --stage 7") == 1


@side_by_side
@pytest.mark.parametrize(
    "arguments",
    [
        ["--stage", "6"],
        ["--stop-stage", "7"],
        ["--num-processes", "1"],
        ["--trainer", "icefall"],
        ["--nodes", "2", "--master-addr", "m"],
    ],
)
def test_translator_has_its_turn_where_the_user_says_more(house: House, arguments: list[str]) -> None:
    result = house.run(*arguments, num_cores=2)
    assert result.returncode == 0, result.stderr
    assert [c for c, _ in house.calls() if c in STAGES] == [s for s in STAGES if s in expected(arguments)]
    assert "beside" not in result.stderr


def expected(arguments: list[str]) -> list[str]:
    """The stages that run with these options."""
    first, last = (int(arguments[1]) if arguments[0] == o else d for o, d in (("--stage", 0), ("--stop-stage", 12)))
    return STAGES[first : last + 1]


@side_by_side
@pytest.mark.parametrize("model", ["asr", "mt"])
def test_translator_has_its_turn_if_one_of_the_two_is_trained(house: House, model: str) -> None:
    folder = house.root / "exp" / "mini" / model
    folder.mkdir(parents=True)
    (folder / ".done").touch()
    assert house.run(num_cores=2).returncode == 0
    assert [name for name, _ in house.calls()] == STAGES


@side_by_side
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_the_translator_too(house: House, number: int) -> None:
    with subprocess.Popen(
        [*on_cores(2), str(house.root / "run.sh")],
        cwd=house.root,
        env=house.environment(WAIT="_train"),  # both
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        started = time.time()
        while not (house.calls_file.exists() and house.calls_file.read_text().count("_train") == 2):
            assert time.time() - started < 30
            time.sleep(0.05)
        time.sleep(0.2)  # the second has written its call, and waits now
        os.killpg(process.pid, number)  # what Ctrl-C does
        process.communicate(timeout=30)
    assert process.returncode != 0
    states = subprocess.run(["ps", "-o", "stat=", "-s", str(process.pid)], capture_output=True, text=True).stdout
    assert all(state.startswith("Z") for state in states.split())  # of those that have ended, if nobody asked yet


def test_failing_path_sh_stops_the_run(house: House) -> None:
    result = house.run(ML2021_PYTHON="/no/such/python")
    assert result.returncode == 1 and "/no/such/python" in result.stderr and house.calls() == []


# The stage that each stage asks to run first if no stage has run.
FIRST_MISSING = {
    "make_manifests": 0,
    "make_lang": 1,
    "align": 1,
    "make_windows": 1,
    "asr_train": 2,
    "asr_decode": 4,
    "make_bitext": 1,
    "mt_train": 7,
    "mt_decode": 7,
    "st": 1,
    "export": 4,
    "make_report": 3,
}


@pytest.mark.parametrize("stage", STAGES[1:])
def test_missing_input_names_the_stage_to_run_first(project: Path, tmp_path: Path, stage: str) -> None:
    """Runs the real stages, not the stub."""
    conf = tmp_path / "conf"
    conf.mkdir()
    for name in ("prep", "asr", "mt", "decode"):
        (conf / f"{name}.yaml").touch()
    command = [sys.executable, f"local/{stage}.py", "--conf", str(conf), "--data", str(tmp_path / "d")]
    environment = {**os.environ, "PYTHONPATH": f"{project}:{project}/egs"}
    result = subprocess.run(
        [*command, "--exp", str(tmp_path / "e")],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    number = FIRST_MISSING[stage]
    assert (
        f"{stage}.py: error: " in result.stderr and f"./run.sh --stage {number} --stop-stage {number}" in result.stderr
    )
    assert list(tmp_path.iterdir()) == [conf]


def test_tests_run_sh_excludes_slow_tests_by_default(house: House, project: Path) -> None:
    (house.root / "tests").mkdir()
    shutil.copy(project / "tests" / "run.sh", house.root / "tests")

    def run(*arguments: str) -> str:
        command = [str(house.root / "tests" / "run.sh"), *arguments]
        subprocess.run(command, cwd="/", env=house.environment(), check=True, capture_output=True, timeout=60)
        call = house.calls_file.read_text().rstrip("\n")
        house.calls_file.unlink()
        return call.replace("\t", " ")

    call = f"{house.root} -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder"
    assert run() == f"{call} -m not slow"
    assert run("--slow", "-x", "tests/a b") == f"{call} -x tests/a b"
