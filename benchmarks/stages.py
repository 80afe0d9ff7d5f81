"""Runs a stage's script as run.sh does, for benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def run_stage(script: str, conf: Path, data: Path, *options: str, log: Path | None = None) -> None:
    """Run local/SCRIPT on a data folder.

    Args:
      script: its file name.
      conf, data: the values of --conf and --data.
      options: others.
      log: a file for what it writes; without one, it writes where this process does.
    Raises:
      subprocess.CalledProcessError: it failed.
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
    with open(log, "a", encoding="utf-8") as f:
        subprocess.run(command, cwd=PROJECT, check=True, stdout=f, stderr=subprocess.STDOUT)
