"""run.sh: the translator's stages run beside the recogniser's, the export beside stage 10. A stub does no work."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.processes import wait_until_gone
from tests.run_sh_house import STAGES, House

CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
HALVES = f"{CORES[0]} {CORES[-1]}"  # of one core, twice the same
with_taskset = pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset")


TRANSLATOR = ["make_bitext", "mt_train", "mt_decode"]


@with_taskset
@pytest.mark.parametrize("last", [8, 10, 11, 12])
def test_translator_trains_beside_the_recogniser_and_not_again(house: House, last: int) -> None:
    result = house.run("--exp", "my exp", "--stop-stage", str(last), HALVES=HALVES)
    assert result.returncode == 0, result.stderr
    calls = [name for name, _ in house.calls()]
    assert sorted(calls) == sorted(STAGES[: last + 1])
    others = [name for name in calls if name not in (*TRANSLATOR, "export")]
    assert others == [name for name in STAGES[: last + 1] if name not in (*TRANSLATOR, "export")]
    begun = [name for name in calls if name in TRANSLATOR]
    assert begun == TRANSLATOR[: last - 6] and calls.index("make_windows") < calls.index("make_bitext")
    assert calls.index(begun[-1]) < (calls + ["st"]).index("st")
    assert f"Stages 7 to {min(last, 9)} beside stages 5 and 6 (log: my exp/translator.log)" in result.stderr
    assert f"Stages 7 to {min(last, 9)} finished beside stages 5 and 6" in result.stderr
    assert (house.root / "my exp" / "translator.log").exists()
    assert (house.root / "my exp" / "export.log").exists() == (last >= 11)
    assert ("Stage 11 finished beside stage 10" in result.stderr) == (last >= 11)
    cores = dict(line.split() for line in Path(f"{house.calls_file}.cores").read_text().splitlines())
    assert cores["asr_train.py"] == HALVES.split()[0]
    assert {cores[f"{name}.py"] for name in begun} == {HALVES.split()[1]}
    all_cores = subprocess.run(["taskset", "-pc", str(os.getpid())], capture_output=True, text=True).stdout.split()[-1]
    assert {cores[f"{name}.py"] for name in STAGES[:5]} == {all_cores}
    expected = [*HALVES.split(), all_cores] if last >= 11 else [all_cores]
    assert [cores[f"{name}.py"] for name in STAGES[10 : last + 1]] == expected[: max(0, last - 9)]


@with_taskset
def test_recogniser_is_decoded_on_all_cores_if_the_translator_has_finished(house: House) -> None:
    result = house.run(HALVES=HALVES, SLOW="asr_train")
    assert result.returncode == 0, result.stderr
    cores = dict(line.split() for line in Path(f"{house.calls_file}.cores").read_text().splitlines())
    assert cores["asr_decode.py"] == cores["make_report.py"]


@with_taskset
@pytest.mark.parametrize("stage", TRANSLATOR)
def test_translator_that_fails_beside_the_recogniser_is_tried_again_in_its_turn(house: House, stage: str) -> None:
    result = house.run("--corpus", "mini", HALVES=HALVES, FAIL=stage, CODE="7")
    assert result.returncode == 7
    calls = [name for name, _ in house.calls()]
    tried = TRANSLATOR[: TRANSLATOR.index(stage) + 1]
    assert [name for name in calls if name in TRANSLATOR] == 2 * tried  # those that succeeded have nothing to do
    assert calls[-len(tried) :] == tried and "asr_decode" in calls
    assert "failed beside stages 5 and 6, see exp/mini/translator.log; what failed is tried again" in result.stderr
    assert f"Continue with: ./run.sh --corpus mini --stage {STAGES.index(stage)}" in result.stderr


@with_taskset
def test_export_that_fails_beside_the_cascade_is_tried_again_in_its_turn(house: House) -> None:
    result = house.run(HALVES=HALVES, FAIL="export", CODE="7")
    assert result.returncode == 7
    calls = [name for name, _ in house.calls()]
    assert calls.count("export") == 2 and calls[-1] == "export" and "st" in calls and "make_report" not in calls
    assert "Stage 11 failed beside stage 10, see exp/mini/export.log" in result.stderr


@with_taskset
@pytest.mark.parametrize(
    ("arguments", "stages"),
    [
        (["--stage", "6"], STAGES[6:]),
        (["--stop-stage", "7"], STAGES[:8]),
        (["--num-processes", "1"], STAGES),
        (["--trainer", "icefall"], STAGES),
        (["--nodes", "2", "--master-addr", "m"], STAGES),
    ],
)
def test_translator_has_its_turn_where_the_user_says_more(
    house: House, arguments: list[str], stages: list[str]
) -> None:
    result = house.run(*arguments, HALVES=HALVES)
    assert result.returncode == 0, result.stderr
    assert [name for name, _ in house.calls() if name in STAGES] == stages
    assert "beside" not in result.stderr


@with_taskset
def test_translator_has_its_turn_under_torchrun_and_where_cores_cannot_be_chosen(house: House) -> None:
    for variables in ({"RANK": "0", "HALVES": HALVES}, {"HALVES": f"{CORES[0]} 4000"}):
        assert house.run(**variables).returncode == 0
        assert [name for name, _ in house.calls()] == STAGES


@with_taskset
@pytest.mark.parametrize("model", ["asr", "mt"])
def test_translator_has_its_turn_if_one_of_the_two_is_trained(house: House, model: str) -> None:
    folder = house.root / "exp" / "mini" / model
    folder.mkdir(parents=True)
    (folder / ".done").touch()
    assert house.run(HALVES=HALVES).returncode == 0
    assert [name for name, _ in house.calls()] == STAGES


@with_taskset
@pytest.mark.parametrize("stage", ["mt_train", "_train", "export"])
def test_interrupt_ends_what_runs_beside_too(house: House, stage: str) -> None:
    """While others run, or when it is waited for; Ctrl-C does not reach a process in the background."""
    with subprocess.Popen(
        [str(house.root / "run.sh")],
        cwd=house.root,
        env=house.environment(HALVES=HALVES, WAIT=stage),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        waiting, deadline = house.root.parent.glob, time.monotonic() + 30
        while len(pids := list(waiting("calls.waiting.*"))) < (2 if stage == "_train" else 1):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if stage != "_train":
            what = "stages 7 to 9" if stage == "mt_train" else "stage 11"
            assert any(f"Waiting for {what} (log" in line for line in process.stderr)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    wait_until_gone(int(path.suffix[1:]) for path in pids)
