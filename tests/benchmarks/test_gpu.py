"""The benchmark for a GPU prints all its figures, and without one says so."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture
def gpu(project: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(project / "benchmarks")
    spec = importlib.util.spec_from_file_location("gpu_benchmark", project / "benchmarks" / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_benchmark", module)
    spec.loader.exec_module(module)
    return module


def test_prints_steps_parts_aims_and_losses(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--device", "cpu", "--small"])
    output = capsys.readouterr().out
    for precision in ("float32", "bf16"):
        assert re.search(rf"^{precision}: [\d.]+ ms a step of \d+ s \(.*\), peak memory \d+ MB$", output, re.MULTILINE)
    shares = dict(re.findall(r"^  ([a-z ]+?) +[\d.]+ ms +([\d.]+)%", output, re.MULTILINE))
    assert shares.keys() == {
        "encoder forward", "losses forward", "lattice", "backward", "regularisers", "optimiser", "waiting for data",
    }  # fmt: skip
    assert all(float(share) > 0 for share in shares.values())
    assert float(shares["lattice"]) < float(shares["losses forward"])
    assert float(shares["regularisers"]) < float(shares["backward"])
    assert len(re.findall(r"aim: .* at most \d+% of a step: [\d.]+%, (?:met|MISSED)$", output, re.MULTILINE)) == 4
    assert re.search(r"^  native +[\d.]+ ms, \d+ MB more memory$", output, re.MULTILINE)
    assert re.search(r"^  k2 ", output, re.MULTILINE) and re.search(r"^  torchaudio ", output, re.MULTILINE)


def test_timing_leaves_the_functions_as_they_were(gpu: ModuleType) -> None:
    before = gpu.rnnt_lattice.lattice_here, gpu.regularisers._BalancerFunction.backward
    with gpu.parts_timed(gpu.Clock(torch.device("cpu"))):
        assert gpu.rnnt_lattice.lattice_here is not before[0]
    assert (gpu.rnnt_lattice.lattice_here, gpu.regularisers._BalancerFunction.backward) == before


def test_without_a_gpu_it_says_so(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        gpu.main([])
    assert stop.value.code == 1
    assert re.match(
        r"no GPU: torch .* sees none; nothing was measured\. .* --device cpu --small", capsys.readouterr().err
    )
