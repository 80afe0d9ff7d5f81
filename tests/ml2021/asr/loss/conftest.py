"""Triton's kernels on a CPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

KERNELS = ("rnnt_lattice_triton", "ctc_triton")  # in the order in which they import each other


@pytest.fixture(scope="session")
def interpreted() -> Iterator[dict[str, ModuleType]]:
    """The modules with kernels, loaded a second time for Triton's interpreter."""
    pytest.importorskip("triton")
    room = importlib.import_module("ml2021.asr.loss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        modules = {}
        for name in KERNELS:
            importlib.import_module(f"{room.__name__}.{name}")
            patch.setattr(room, name, getattr(room, name))  # set back at the end, as is sys.modules
            patch.delitem(sys.modules, f"{room.__name__}.{name}")
        for name in KERNELS:
            modules[name] = importlib.import_module(f"{room.__name__}.{name}")
    yield modules
