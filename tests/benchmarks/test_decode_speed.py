"""The decoding benchmark keeps the smallest times and the texts of its rounds."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "decode_speed.py"
SPEC = importlib.util.spec_from_file_location("decode_speed", PATH)
assert SPEC is not None and SPEC.loader is not None
benchmark = importlib.util.module_from_spec(SPEC)
sys.modules["decode_speed"] = benchmark  # its dataclass looks for annotated types there
SPEC.loader.exec_module(benchmark)


def test_smallest_times_and_texts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, processor = iter([0.0, 5.0, 10.0, 13.0, 20.0, 24.0]), iter([0.0, 1.0, 2.0, 4.0, 5.0, 8.0])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(benchmark.time, "process_time", lambda: next(processor))
    batch_sizes: list[int] = []

    def system(batch: Sequence[np.ndarray]) -> list[str]:
        batch_sizes.append(len(batch))
        return [str(len(samples)) for samples in batch]

    measured = benchmark.Measured()
    for _ in range(3):
        measured.run(system, [[np.zeros(1), np.zeros(2)], [np.zeros(3)]])
    assert (measured.wall, measured.processor) == (3.0, 1.0)
    assert measured.texts == ["1", "2", "3"] and batch_sizes == [2, 1] * 3
