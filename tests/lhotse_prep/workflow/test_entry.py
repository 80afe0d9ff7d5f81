"""What every executable shares: an end with the program that started it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from lhotse_prep.workflow.entry import BESIDE
from tests.processes import wait_until_gone


def test_stage_beside_another_ends_when_its_run_is_killed(tmp_path: Path, project: Path) -> None:
    """Also if a shell that run.sh started stands between them, and lives."""
    assert f"{BESIDE}=$$ " in (project / "run.sh").read_text(encoding="utf-8")
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
    command = f'{{ {BESIDE}=$$ "$0" -c "$1"; sleep 5; }} & wait'
    environment = {**os.environ, "PYTHONPATH": str(project)}
    parent = subprocess.Popen(["bash", "-c", command, sys.executable, code], env=environment)
    deadline = time.time() + 30
    while not started.exists():
        assert time.time() < deadline
        time.sleep(0.05)
    parent.kill()
    wait_until_gone([int(started.read_text())])  # nobody has waited for the parent yet
    parent.wait()
