"""Two processes end with the same weights, and compute the same as one process with twice the accumulation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ml2021.report.training import read_scalars
from ml2021.training.checkpoint import load_checkpoint

PROGRAM = Path(__file__).parent / "toy_training.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def train(project: Path, exp_dir: Path, accum_grad: int, processes: int, bad_batch: int | None = None) -> None:
    options = [str(exp_dir), str(accum_grad), *([] if bad_batch is None else [str(bad_batch)])]
    start = TORCHRUN if processes == 2 else [sys.executable]
    environment = os.environ | {"PYTHONPATH": f"{project}:{project}/egs", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*start, str(PROGRAM), *options], env=environment, capture_output=True, text=True, timeout=240
    )
    assert result.returncode == 0, result.stderr


def losses(exp_dir: Path) -> list[str]:
    """The lines 'step batch loss' of all processes."""
    return sorted(line for p in exp_dir.glob("losses-*.txt") for line in p.read_text().splitlines())


@pytest.fixture(scope="module")
def runs(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """{(processes, accum_grad): exp_dir} of trainings with four batches per step."""
    folder = tmp_path_factory.mktemp("runs")
    exp_dirs = {}
    for processes, accum_grad in ((1, 4), (2, 2)):
        exp_dirs[processes, accum_grad] = folder / f"{processes}-{accum_grad}"
        train(project, exp_dirs[processes, accum_grad], accum_grad, processes)
    return exp_dirs


@pytest.mark.slow
def test_both_processes_end_with_the_same_weights(runs: dict[tuple[int, int], Path]) -> None:
    first, second = (torch.load(runs[2, 2] / f"rank-{rank}.pth") for rank in (0, 1))
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_accumulation(runs: dict[tuple[int, int], Path]) -> None:
    alone, together = losses(runs[1, 4]), losses(runs[2, 2])
    assert len(alone) == 3 * 12 and [x.split()[:2] for x in alone] == [x.split()[:2] for x in together]
    for a, b in zip(alone, together):  # the order of sums differs
        assert float.fromhex(a.split()[2]) == pytest.approx(float.fromhex(b.split()[2]), rel=1e-4)
    assert alone[:4] == together[:4]  # before the first step: exactly the same, including dropout
    scalars = [read_scalars(runs[key] / "tensorboard") for key in ((1, 4), (2, 2))]
    for tag in ("train/current_square", "train/grad_norm", "train/epoch_square", "valid/square"):
        a, b = (dict(s[tag]) for s in scalars)
        assert a.keys() == b.keys() and len(a) in (3, 9)
        assert all(a[step] == pytest.approx(b[step], rel=1e-4) for step in a)


@pytest.mark.slow
def test_bad_loss_in_one_process_skips_the_step_in_both(
    project: Path, tmp_path: Path, runs: dict[tuple[int, int], Path]
) -> None:
    train(project, tmp_path, 2, 2, bad_batch=7)  # in the second step, on process 1
    first, second = (torch.load(tmp_path / f"rank-{rank}.pth") for rank in (0, 1))
    assert all(torch.equal(first[k], second[k]) and torch.isfinite(first[k]).all() for k in first)
    steps = load_checkpoint(runs[2, 2] / "epoch-3.pt")["batch_idx_train"]
    assert load_checkpoint(tmp_path / "epoch-3.pt")["batch_idx_train"] == steps - 1
    assert {p.name for p in (tmp_path / "bad-batches").iterdir()} == {"epoch-1-batch-7.json"}
