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

from tests.run_sh_house import STAGES, House


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
    stages = re.findall(r"^ *run_stage (\d+) [a-z-]+ (local/\w+\.py)", (project / "run.sh").read_text(), re.M)
    named = [name for _, name in sorted(stages, key=lambda stage: int(stage[0]))]
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
        [str(house.root / "run.sh")],
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
