"""run.sh: the translator trains beside the recogniser. A stub of Python does no work."""

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


@with_taskset
def test_translator_trains_beside_the_recogniser_and_not_again(house: House) -> None:
    result = house.run("--exp", "my exp", HALVES=HALVES)
    assert result.returncode == 0, result.stderr
    calls = [name for name, _ in house.calls()]
    assert sorted(calls) == sorted(STAGES)
    others = [name for name in calls if name != "mt_train"]
    assert others == [*STAGES[:5], "make_bitext", "asr_train", "asr_decode", *STAGES[9:]]
    assert calls.index("make_bitext") < calls.index("mt_train") < calls.index("asr_decode")
    assert "Stage 8: mt-train, beside stage 5; its log is my exp/mt-train.log" in result.stderr
    assert "Stage 8 has finished beside stage 5" in result.stderr
    assert (house.root / "my exp" / "mt-train.log").exists()
    cores = dict(line.split() for line in Path(f"{house.calls_file}.cores").read_text().splitlines())
    assert (cores.pop("asr_train.py"), cores.pop("mt_train.py")) == tuple(HALVES.split())
    all_cores = subprocess.run(["taskset", "-pc", str(os.getpid())], capture_output=True, text=True).stdout.split()[-1]
    assert set(cores.values()) == {all_cores}


@with_taskset
def test_translator_that_fails_beside_the_recogniser_is_tried_again_in_its_turn(house: House) -> None:
    result = house.run("--corpus", "mini", HALVES=HALVES, FAIL="mt_train", CODE="7")
    assert result.returncode == 7
    calls = [name for name, _ in house.calls()]
    assert calls.count("mt_train") == 2 and calls[-2:] == ["asr_decode", "mt_train"]
    assert "Stage 8 (mt-train) failed beside stage 5, see exp/mini/mt-train.log; it is tried again" in result.stderr
    assert "Continue with: ./run.sh --corpus mini --stage 8" in result.stderr


@with_taskset
def test_a_corpus_without_sentence_pairs_still_gives_a_recogniser(house: House) -> None:
    result = house.run(HALVES=HALVES, FAIL="make_bitext")
    assert result.returncode == 1
    assert [name for name, _ in house.calls()] == [*STAGES[:5], "make_bitext", "asr_train", "asr_decode", "make_bitext"]
    assert result.stderr.count("Continue with: ./run.sh --stage 7") == 1


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
@pytest.mark.parametrize("stage", ["mt_train", "_train"])
def test_interrupt_ends_the_translator_too(house: House, stage: str) -> None:
    """While the recogniser trains, or when it is waited for; Ctrl-C does not reach a process in the background."""
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
        while len(pids := list(waiting("calls.waiting.*"))) < (1 if stage == "mt_train" else 2):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if stage == "mt_train":
            assert any("Waiting for stage 8" in line for line in process.stderr)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130
    wait_until_gone(int(path.suffix[1:]) for path in pids)
