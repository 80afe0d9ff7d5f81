"""What all tests share. The markers are declared in pyproject.toml."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.run_sh_house import House

PROJECT = Path(__file__).resolve().parent.parent

# Files that take longest, the longest first. Side by side they begin first, since a long file that begins last runs
# alone while the other cores wait (xdist, by the number of tests, began the run of all stages near the end).
LONGEST = (
    "test_smoke.py",
    "ml2021/asr/export/test_export.py",
    "ml2021/asr/icefall/test_published_checkpoints.py",
    "ml2021/asr/aligner/test_executors.py",
    "lhotse_prep/workflow/test_executor.py",
    "ml2021/training/test_launch.py",
    "ml2021/asr/train/test_train.py",
    "ml2021/asr/train/test_shar.py",
    "ml2021/training/test_distributed.py",
    "ml2021/training/test_gradient_exchange.py",
    "ml2021/asr/icefall/test_import_checkpoint.py",
    "ml2021/mt/test_train.py",
    "local/test_export.py",
    "lhotse_prep/bitext/test_pairs.py",
    "benchmarks/test_gpu.py",
    "benchmarks/test_lecture_damage.py",
    "ml2021/asr/test_cuda_paths.py",
    "ml2021/asr/train/test_fine_tuning.py",
    "lhotse_prep/alignment/test_first_times.py",
    "ml2021/asr/aligner/test_rounds.py",
)

# Before torch is imported: small tensors gain nothing from threads, and on a busy machine waiting for them costs much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests that are started in the background ignore interrupts, and the programs that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return PROJECT


@pytest.fixture
def house(tmp_path: Path, project: Path) -> House:
    """For tests of run.sh."""
    return House(tmp_path, project)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first in processes of xdist; skip, with the reason, what this machine cannot run."""
    from importlib.util import find_spec

    if hasattr(config, "workerinput"):
        ranks = {PROJECT / "tests" / name: rank for rank, name in enumerate(LONGEST)}
        items.sort(key=lambda item: ranks.get(item.path, len(ranks)))

    marked = {item: {m.name for m in item.iter_markers()} for item in items}
    if any("needs_k2" in names for names in marked.values()) and find_spec("k2") is None:
        _skip([i for i, names in marked.items() if "needs_k2" in names], "k2 is not installed")
    if any("gpu" in names for names in marked.values()):
        import torch

        if not torch.cuda.is_available():
            _skip([i for i, names in marked.items() if "gpu" in names], "no GPU")


def _skip(items: list[pytest.Item], reason: str) -> None:
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))
