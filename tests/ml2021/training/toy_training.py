"""A program for test_distributed.py: trains a small model in one process, or in the processes of torchrun.

python toy_training.py EXP_DIR ACCUM_GRAD [NUMBER_OF_A_BAD_BATCH]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from ml2021.training.config import TrainConfig
from ml2021.training.distributed import join_world, leave_world
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer

NUM_BATCHES = 10  # per epoch; not a multiple of 4, so the last step is filled up


class NumberedTask(Task):
    """Batches come with their numbers, and all training losses are recorded."""

    def __init__(self, bad_batch: int | None) -> None:
        self.bad_batch = bad_batch
        self.losses: list[str] = []

    def train_batches(self, epoch: int) -> Iterator[tuple[int, Tensor]]:
        g = torch.Generator().manual_seed(epoch)
        return ((i, torch.randn(16, 3, generator=g)) for i in range(NUM_BATCHES))

    def valid_batches(self) -> Iterator[tuple[int, Tensor]]:
        return ((i, torch.full((4, 3), float(i))) for i in range(3))

    def batch_ids(self, batch: tuple[int, Tensor]) -> list[str]:
        return [str(batch[0])]

    def compute_loss(self, model: nn.Module, batch: tuple[int, Tensor], step: int) -> StepLoss:
        number, x = batch
        loss = (model(x) - x.sum(dim=1, keepdim=True).sin()).square().mean()
        if model.training:
            self.losses.append(f"{step} {number} {float(loss.detach()).hex()}")
            if number == self.bad_batch and step < 3:
                loss = loss * float("nan")
        return StepLoss(loss, {"square": 16 * float(loss.detach())}, 16.0)


def main() -> None:
    exp_dir, accum_grad = Path(sys.argv[1]), int(sys.argv[2])
    bad_batch = int(sys.argv[3]) if len(sys.argv) > 3 else None
    world, device = join_world()
    torch.manual_seed(world.rank)  # rank 0's weights must win
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))
    config = TrainConfig(
        num_epochs=3,
        base_lr=0.01,
        warmup_steps=2,
        accum_grad=accum_grad,
        average_period=2,
        average_epochs=1,
        keep_epochs=4,
        log_interval=1,
        save_every_n=4,
    )
    task = NumberedTask(bad_batch)
    Trainer(model, task, config, exp_dir, device, world).run()
    torch.save(model.state_dict(), exp_dir / f"rank-{world.rank}.pth")
    (exp_dir / f"losses-{world.rank}.txt").write_text("\n".join(task.losses))
    leave_world()


if __name__ == "__main__":
    main()
