"""pretrained.pt is the average over the last epochs that is best on dev."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ml2021.training.checkpoint import averages_to_compare, best_average, load_averaged, load_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.distributed import World
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer
from tests.ml2021.training.several_processes import in_processes


class Killed(BaseException):
    """Stands for a kill: nothing in the process handles it."""


class NumberTask(Task):
    """The model is a number that training makes smaller and smaller; its loss on dev is least at `best`."""

    def __init__(self, best: float, num_valid: int = 2) -> None:
        self.best, self.num_valid = best, num_valid

    def train_batches(self, epoch: int) -> Iterator[Tensor]:
        return iter(torch.zeros(3, 1))

    def valid_batches(self) -> Iterator[Tensor]:
        return iter(torch.zeros(self.num_valid, 1))

    def compute_loss(self, model: nn.Module, batch: Tensor, step: int) -> StepLoss:
        loss = model(batch).sum() if model.training else (model(batch) - self.best).square().sum()
        return StepLoss(loss, {"distance": loss.detach()}, 2.0)


class Number(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


BY_DEV = TrainConfig(num_epochs=8, base_lr=0.1, warmup_steps=2, average_epochs=4, average_period=1, weight_decay=0.0)


def trainer_of(folder: Path, best: float, config: TrainConfig = BY_DEV, num_valid: int = 2) -> Trainer:
    return Trainer(Number(), NumberTask(best, num_valid), config, folder, torch.device("cpu"))


def pretrained(folder: Path) -> float:
    weight: float = load_checkpoint(folder / "pretrained.pt")["model"]["weight"].item()
    return weight


def averaged(folder: Path, num_epochs: int) -> float:
    return load_averaged(folder, BY_DEV.num_epochs, num_epochs, True)["weight"].item()


def record_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "average.json").read_text())
    return record


def test_pretrained_is_the_average_that_is_best_on_dev(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Weights of a training that moves on and on: dev says which of its averages is near the wanted point."""
    caplog.set_level(logging.INFO)
    trainer_of(tmp_path, 0.0).run()
    averages = {n: averaged(tmp_path, n) for n in (1, 2, 4)}
    last = load_checkpoint(tmp_path / "epoch-8.pt")["model"]["weight"].item()
    assert last < averages[1] < averages[2] < averages[4] < 0
    for n, wanted in averages.items():
        trainer = trainer_of(tmp_path, wanted)
        trainer.run()
        assert pretrained(tmp_path) == wanted and trainer.model.weight.item() == last
        record = record_of(tmp_path)
        assert (record["last_epoch"], record["average_epochs"]) == (8, n)
        expected = {str(k): (x - wanted) ** 2 for k, x in averages.items()}
        assert record["dev_loss"] == pytest.approx(expected, abs=1e-6)
        assert f"average over the last epochs: {n}; loss on dev: " in caplog.text
    trainer_of(tmp_path, averages[1], replace(BY_DEV, average_by_dev=False)).run()
    assert pretrained(tmp_path) == averages[4]
    assert record_of(tmp_path) == {"last_epoch": 8, "average_epochs": 4}


def test_of_equal_averages_that_over_most_epochs_is_taken(tmp_path: Path) -> None:
    trainer_of(tmp_path, float("nan")).run()
    assert record_of(tmp_path)["average_epochs"] == 4


def test_without_dev_the_average_is_over_all_of_average_epochs(tmp_path: Path) -> None:
    trainer_of(tmp_path, -100.0, num_valid=0).run()
    assert pretrained(tmp_path) == averaged(tmp_path, 4)


def test_a_run_killed_while_averages_are_compared_ends_with_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer_of(tmp_path / "whole", -2.0).run()
    trainer, count = trainer_of(tmp_path / "killed", -2.0), iter(range(100))
    dev_sums = trainer._dev_sums
    limit = BY_DEV.num_epochs + 1

    def killed_later(step: int) -> dict[str, float]:
        if next(count) == limit:
            raise Killed
        return dev_sums(step)

    monkeypatch.setattr(trainer, "_dev_sums", killed_later)
    with pytest.raises(Killed):
        trainer.run()
    assert not (tmp_path / "killed" / "pretrained.pt").exists()
    trainer_of(tmp_path / "killed", -2.0).run()
    assert pretrained(tmp_path / "whole") == pretrained(tmp_path / "killed") == averaged(tmp_path / "whole", 1)
    assert record_of(tmp_path / "whole") == record_of(tmp_path / "killed")


def test_epochs_whose_checkpoints_are_gone_are_not_compared(tmp_path: Path) -> None:
    for epoch in (2, 3, 4, 6, 7, 8):
        (tmp_path / f"epoch-{epoch}.pt").touch()
    assert averages_to_compare(tmp_path, 8, 5) == [5, 2, 1]
    assert averages_to_compare(tmp_path, 6, 2) == [2]
    assert averages_to_compare(tmp_path, 4, 4) == [4, 2, 1] and averages_to_compare(tmp_path, 2, 2) == [2]
    assert averages_to_compare(tmp_path, 8, 1) == [1]


def train_in_process(world: World, folder: Path) -> None:
    """Dev has 3 batches, so that the processes have different numbers of them."""
    task = NumberTask(-2.0, num_valid=3)
    Trainer(Number(), task, BY_DEV, folder, torch.device("cpu"), world).run()


@pytest.mark.slow
def test_several_processes_choose_as_one_does(tmp_path: Path) -> None:
    for size, name in ((1, "one"), (2, "two")):
        in_processes(train_in_process, size, tmp_path / name, shares_batches=True)
    assert record_of(tmp_path / "one") == record_of(tmp_path / "two")
    assert pretrained(tmp_path / "one") == pretrained(tmp_path / "two")


def test_smaller_differences_than_one_percent_are_chance() -> None:
    assert best_average({4: 0.1338, 2: 0.1334, 1: 0.1332}) == 4  # mini
    assert best_average({4: 1.139, 2: 1.11, 1: 1.114}) == 2  # 20 minutes of a person's speech
    assert best_average({4: 1.02, 2: 1.011, 1: 1.0}) == 1
    assert best_average({4: -0.99, 2: -1.0, 1: 0.5}) == 4
    assert best_average({2: math.inf, 1: 3.0}) == 1 and best_average({2: math.inf, 1: math.inf}) == 2
