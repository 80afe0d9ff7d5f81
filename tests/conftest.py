"""What all tests share. The markers are declared in pyproject.toml."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

# Before torch is imported: small tensors gain nothing from threads, and on a busy machine waiting for them costs much.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests that are started in the background ignore interrupts, and the programs that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return PROJECT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine has no package or device for."""
    from importlib.util import find_spec

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
