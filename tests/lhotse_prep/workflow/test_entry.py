"""What every executable shares: an end with the program that started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lhotse_prep.workflow.entry import BESIDE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
def test_stage_in_the_background_ends_when_its_run_is_killed(tmp_path: Path, project: Path) -> None:
    started = tmp_path / "pid"
    code = f"""
import os, pathlib, time
from lhotse_prep.workflow.entry import run_main
def main(argv):
    pathlib.Path({str(tmp_path / "new")!r}).write_text(str(os.getpid()))
    os.rename({str(tmp_path / "new")!r}, {str(started)!r})
    time.sleep(60)
run_main(main)
"""
    environment = {**os.environ, "PYTHONPATH": str(project), BESIDE: "asr-train"}
    parent = subprocess.Popen(["bash", "-c", '"$0" -c "$1" & wait', sys.executable, code], env=environment)
    deadline = time.time() + 30
    while not started.exists():
        assert time.time() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    child = int(started.read_text())
    while is_running(child):
        assert time.time() < deadline
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
