"""Where CTranslate2 runs: the probe translates indeed, and whatever goes wrong on a GPU ends on the CPU."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from lhotse_prep.workflow import ctranslate2_device as module
from lhotse_prep.workflow.ctranslate2_device import ctranslate2_device, cublas_of_package, probe


@pytest.fixture(autouse=True)
def no_answer_of_earlier_tests():
    ctranslate2_device.cache_clear()
    yield
    ctranslate2_device.cache_clear()


def test_the_probe_translates():
    assert probe("cpu", []) == ""
    assert "unsupported device" in probe("abacus", [])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "a small translation there ended with status -9"),
        ("raise RuntimeError('Library libcublas.so.12 is not found')", "Library libcublas.so.12 is not found"),
        ("import ctypes, sys; ctypes.CDLL(sys.argv[2])", "OSError: .*cannot open shared object file"),
        ("import os; os.abort()", "ended with status -6"),
        ("pass", "ended with status 0"),
        ("import time; time.sleep(60)", "takes more than"),
    ],
)
def test_a_gpu_that_fails_is_left_alone(program, message, monkeypatch, caplog):
    """Even if CUDA ends the process; one warning says why."""
    monkeypatch.setattr(module, "_num_gpus", lambda: 1)
    monkeypatch.setattr(module, "cublas_of_package", lambda: [Path("/no/libcublas.so.12")])
    monkeypatch.setattr(module, "PROBE", program)
    monkeypatch.setattr(module, "MOST_SECONDS", 1)
    assert ctranslate2_device() == "cpu" == ctranslate2_device()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "pip install 'ml2021[cuda12]'" in record.getMessage()
    assert re.search(message, record.getMessage()), record.getMessage()


def test_without_a_gpu_nothing_is_tried(monkeypatch, caplog):
    monkeypatch.setattr(module, "_num_gpus", lambda: 0)
    monkeypatch.setattr(module, "probe", lambda *_: pytest.fail("probed"))
    assert ctranslate2_device() == "cpu" and not caplog.records


def test_a_gpu_that_works_is_used(monkeypatch):
    """The package's libraries are loaded here, where CTranslate2 finds them."""
    loaded = []
    monkeypatch.setattr(module, "_num_gpus", lambda: 1)
    monkeypatch.setattr(module, "cublas_of_package", lambda: [Path("a"), Path("b")])
    monkeypatch.setattr(module, "probe", lambda device, libraries: "" if device == "cuda" else "no")
    monkeypatch.setattr(module.ctypes, "CDLL", lambda path, mode: loaded.append(path))
    assert ctranslate2_device() == "cuda" and loaded == ["a", "b"]


def test_cublas_is_taken_from_its_package_if_it_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: str(tmp_path))
    assert cublas_of_package() == []
    folder = tmp_path / "nvidia" / "cublas" / "lib"
    folder.mkdir(parents=True)
    (folder / "libcublas.so.12").touch()
    assert cublas_of_package() == []
    (folder / "libcublasLt.so.12").touch()
    assert [p.name for p in cublas_of_package()] == ["libcublasLt.so.12", "libcublas.so.12"]


def test_a_driver_that_is_too_old_counts_as_no_gpu(monkeypatch):
    import ctranslate2

    def refuse() -> int:
        raise RuntimeError("CUDA driver version is insufficient")

    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", refuse)
    assert ctranslate2_device() == "cpu"


@pytest.mark.gpu
def test_on_a_gpu_the_answer_holds():
    if ctranslate2_device() == "cuda":
        assert probe("cuda", cublas_of_package()) == ""
