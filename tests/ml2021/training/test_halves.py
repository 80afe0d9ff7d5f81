"""Halves of the cores for two trainings at the same time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ml2021.training import launch


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_halves_of_the_cores_for_two_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launch, "_has_gpu", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {10, 9, 4, 3, 2})
    places = {2: (0, 0, 2), 10: (0, 0, 10), 3: (0, 1, 3), 4: (1, 0, 4), 9: (1, 1, 9)}
    monkeypatch.setattr(launch, "_place", places.__getitem__)
    path = tmp_path / "mt.yaml"
    for text in ("mt: {beside_recogniser: false}", "mt: {}", "mt: 3", "{", "mt: {beside_recogniser: 1}"):
        path.write_text(text)
        assert launch.halves(tmp_path) is None
    path.write_text("mt: {beside_recogniser: true}")
    assert launch.halves(tmp_path) == ([3, 4, 9], [2, 10])  # hyperthreads 2 and 10 are of one core
    launch.main(["halves", "--conf", str(tmp_path)])
    assert capsys.readouterr().out == "3,4,9 2,10\n"
    for threads, fits in (("2", True), ("2,1", True), ("3", False), ("many", False)):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert (launch.halves(tmp_path) is not None) == fits
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert launch.halves(tmp_path) is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 4})
    monkeypatch.setattr(launch, "_has_gpu", lambda: True)
    assert launch.halves(tmp_path) is None


def test_every_core_of_this_machine_has_another_place() -> None:
    cores = range(os.cpu_count() or 1)
    assert len({launch._place(core) for core in cores}) == len(cores)
