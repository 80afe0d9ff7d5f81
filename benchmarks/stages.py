"""Runs a stage's script as run.sh does, for benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lhotse_prep.workflow.errors import DataError

PROJECT = Path(__file__).resolve().parent.parent


def run_stage(script: str, conf: Path, data: Path, *options: str, log: Path | None = None) -> None:
    """Run local/SCRIPT on a data folder.

    Args:
      script: its file name.
      conf, data: the values of --conf and --data.
      options: others.
      log: a file that what it writes is appended to; without one, it writes where this process does.
    Raises:
      DataError: it failed, with the last line of the log.
      subprocess.CalledProcessError: it failed, and there is no log.
    """
    command = [
        sys.executable,
        f"local/{script}",
        "--conf",
        str(conf.resolve()),
        "--data",
        str(data.resolve()),
        *options,
    ]
    if log is None:
        subprocess.run(command, cwd=PROJECT, check=True)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a", encoding="utf-8") as f:
        failed = subprocess.run(command, cwd=PROJECT, stdout=f, stderr=subprocess.STDOUT).returncode
    if failed:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise DataError(f"{script}: {lines[-1] if lines else 'no output'} ({log})")
