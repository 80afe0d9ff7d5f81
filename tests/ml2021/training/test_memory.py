"""Freed memory is returned to the system even if tensors that stay are scattered among it."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import pytest
import torch

from ml2021.training.memory import give_back_freed_memory


def resident_mb() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_holes_between_tensors_that_stay_are_returned() -> None:
    tensors = [torch.zeros(12_000) for _ in range(4000)]  # 188 MB in total; each is too small for a separate mapping
    kept = tensors[::20]
    before = resident_mb()
    del tensors
    give_back_freed_memory()
    assert resident_mb() < before - 120
    assert all(not x.any() for x in kept)
