"""The training benchmark runs and prints the times of its parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_prints_throughput_and_parts(project: Path) -> None:
    command = [sys.executable, "benchmarks/train_throughput.py", "--duration", "2", "--num-utterances", "2"]
    environment = {"PYTHONPATH": f"{project}:{project}/egs", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--steps", "1", "--vocab-size", "20", "--bf16"],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"^[\d.]+ s of audio a second \(\d\.\d s a batch\)", result.stdout, re.MULTILINE)
    assert all(part in result.stdout for part in ("encoder", "losses", "backward", "optimiser", "bf16 autocast"))
