"""Processes that share each batch compute what one process does, whatever their number and the batch's size."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.distributed import World
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer
from tests.ml2021.training.several_processes import SHORT, in_processes

NUM_BATCHES = 7


class RowsTask(Task):
    """Batches of 1 to 5 rows; the loss of a row is weighed by its length, as that of an utterance by its frames."""

    def __init__(self, is_mean: bool, kill_at: int | None) -> None:
        self.is_mean, self.kill_at = is_mean, kill_at
        self.num_rows = 0

    def train_batches(self, epoch: int) -> Iterator[Tensor]:
        g = torch.Generator().manual_seed(epoch)
        return (torch.randn(1 + i % 5, 3, generator=g) for i in range(NUM_BATCHES))

    def valid_batches(self) -> Iterator[Tensor]:
        return iter(())

    def compute_loss(self, model: nn.Module, batch: Tensor, step: int) -> StepLoss:
        if step == self.kill_at:
            raise KeyboardInterrupt
        lens = batch.abs().sum(dim=1)
        errors = (model(batch)[:, 0] - batch.sum(dim=1).sin()).square()
        total, weight = (errors * lens).sum(), float(lens.sum())
        self.num_rows += len(batch)
        loss = total / weight if self.is_mean else total / 10
        return StepLoss(loss, {"square": total.detach()}, weight, is_mean=self.is_mean)


def train(world: World, exp_dir: Path, config: TrainConfig, is_mean: bool, kill_at: int | None = None) -> None:
    """Train, and save this process's weights."""
    torch.manual_seed(world.rank + 1)  # the weights of rank 0 must win
    model, task = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), RowsTask(is_mean, kill_at)
    try:
        Trainer(model, task, config, exp_dir, torch.device("cpu"), world).run()
    except KeyboardInterrupt:
        return
    assert task.batches_per_step == config.accum_grad
    torch.save({"model": model.state_dict(), "rows": task.num_rows}, exp_dir / f"rank-{world.rank}.pth")


def weights(exp_dir: Path, size: int) -> dict[str, Tensor]:
    """Those of all processes, which must be the same to the bit."""
    first, *others = (torch.load(exp_dir / f"rank-{rank}.pth")["model"] for rank in range(size))
    assert all(torch.equal(value, other[name]) for other in others for name, value in first.items())
    return first  # type: ignore[no-any-return]


@pytest.mark.parametrize(("is_mean", "size", "accum_grad"), [(True, 2, 1), (False, 3, 2)])
def test_processes_that_share_batches_compute_what_one_does(
    is_mean: bool, size: int, accum_grad: int, tmp_path: Path
) -> None:
    config = replace(SHORT, accum_grad=accum_grad)
    train(World(), tmp_path / "alone", config, is_mean)
    in_processes(train, size, tmp_path / "shared", config, is_mean, shares_batches=True)
    alone, shared = weights(tmp_path / "alone", 1), weights(tmp_path / "shared", size)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, atol=1e-5, rtol=1e-4)
    contents = [load_checkpoint(tmp_path / name / "epoch-2.pt") for name in ("alone", "shared")]
    assert contents[0]["batch_idx_train"] == contents[1]["batch_idx_train"]
    for name, value in contents[0]["model_avg"].items():
        torch.testing.assert_close(contents[1]["model_avg"][name], value, atol=1e-5, rtol=1e-4)


def test_a_training_goes_on_inside_an_epoch_with_another_number_of_processes(tmp_path: Path) -> None:
    in_processes(train, 2, tmp_path / "begun", SHORT, True, 5, shares_batches=True)  # dies at step 5
    assert (tmp_path / "begun" / "checkpoint-4.pt").is_file()
    shutil.copytree(tmp_path / "begun", tmp_path / "alone")
    train(World(), tmp_path / "alone", SHORT, True)
    in_processes(train, 2, tmp_path / "begun", SHORT, True, shares_batches=True)
    alone, shared = weights(tmp_path / "alone", 1), weights(tmp_path / "begun", 2)
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, atol=1e-5, rtol=1e-4)
