"""The benchmark of the transducer loss runs as its docstring says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_benchmark_prints_a_row(project: Path) -> None:
    command = [sys.executable, "benchmarks/rnnt_loss.py", "--impl", "native", "--vocab", "20", "--repeats", "1"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    name, vocab, *numbers = result.stdout.splitlines()[2].split()
    assert (name, vocab) == ("native", "20") and len(numbers) == 4 and float(numbers[0]) > 0
