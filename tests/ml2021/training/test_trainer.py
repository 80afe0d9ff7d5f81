"""The training loop learns, resumes exactly after a kill, and stops if it cannot learn."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.report.training import read_scalars
from ml2021.training import state
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.config import TrainConfig
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer

CONFIG = TrainConfig(
    num_epochs=4,
    base_lr=0.02,
    warmup_steps=5,
    average_period=4,
    average_epochs=2,
    keep_epochs=3,
    save_every_n=5,
    log_interval=5,
    seed=1,
    max_bad_steps=3,
    average_by_dev=False,
)
BATCHES_PER_EPOCH = 13


class Killed(BaseException):
    """Stands for a kill: nothing in the process handles it."""


class ToyTask(Task):
    """Learns a linear function; raises Killed after `kill_at` losses, and gives NaN losses at the steps `nan_at`."""

    def __init__(self, kill_at: int | None = None, nan_at: tuple[int, ...] = ()) -> None:
        self.kill_at, self.nan_at = kill_at, nan_at
        self.steps: list[int] = []  # step of each training loss
        self.weights: dict[int, Tensor] = {}  # by number of steps done
        self.rates: list[float] = []
        self.trainer: Trainer | None = None

    def num_train_batches(self, epoch: int) -> int:
        return BATCHES_PER_EPOCH

    def train_batches(self, epoch: int) -> Iterator[Tensor]:
        g = torch.Generator().manual_seed(epoch)
        return iter(torch.randn(BATCHES_PER_EPOCH, 16, 3, generator=g))

    def batch_ids(self, batch: Tensor) -> list[str]:
        return [f"{float(row[0]):.4f}" for row in batch]

    def valid_batches(self) -> Iterator[Tensor]:
        return iter(torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(99)))

    def compute_loss(self, model: nn.Module, batch: Tensor, step: int) -> StepLoss:
        if model.training:
            if len(self.steps) == self.kill_at:
                raise Killed
            self.steps.append(step)
            self.weights[step] = flat(model.state_dict())
            if self.trainer is not None:
                self.rates.append(self.trainer.optimizer.param_groups[0]["lr"])
        target = batch @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3
        loss = (model(batch) - target).square().mean()
        if step in self.nan_at and model.training:
            loss = loss * float("nan")
        return StepLoss(loss, {"square": 16 * float(loss.detach())}, 16.0)


def flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([w.detach().double().flatten() for w in weights.values()])


def new_trainer(folder: Path, task: ToyTask, config: TrainConfig = CONFIG) -> Trainer:
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    trainer = Trainer(model, task, config, folder, torch.device("cpu"))
    task.trainer = trainer
    return trainer


def pretrained(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder / "pretrained.pt")["model"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ToyTask]:
    folder, task = tmp_path_factory.mktemp("whole"), ToyTask()
    new_trainer(folder, task).run()
    return folder, task


def test_loss_falls_and_is_recorded(uninterrupted: tuple[Path, ToyTask]) -> None:
    scalars = read_scalars(uninterrupted[0] / "tensorboard")
    train = [value for _, value in scalars["train/epoch_square"]]
    valid = [value for _, value in scalars["valid/square"]]
    assert len(train) == len(valid) == CONFIG.num_epochs
    assert train[-1] < train[0] / 2 and valid[-1] < valid[0] / 2
    assert [step for step, _ in scalars["valid/square"]] == [13, 26, 39, 52]


def test_only_the_newest_epochs_are_kept(uninterrupted: tuple[Path, ToyTask]) -> None:
    names = {p.name for p in uninterrupted[0].glob("*.pt*")}
    expected = {"epoch-2.pt", "epoch-3.pt", "epoch-4.pt", "pretrained.pt"}
    assert names == expected | {f"{n}.sha256" for n in expected}


def test_checkpoint_has_the_keys_that_icefall_reads(uninterrupted: tuple[Path, ToyTask]) -> None:
    content = load_checkpoint(uninterrupted[0] / "epoch-4.pt")
    keys = {"model", "model_avg", "optimizer", "scheduler", "grad_scaler", "sampler", "batch_idx_train"}
    assert keys <= content.keys() and content["batch_idx_train"] == 52


def test_pretrained_is_the_mean_over_the_last_epochs(uninterrupted: tuple[Path, ToyTask]) -> None:
    """Over the last 26 steps: weights at every 4th step and each epoch's end stand for the steps since the previous."""
    folder, task = uninterrupted
    task.weights[52] = flat(load_checkpoint(folder / "epoch-4.pt")["model"])
    total = torch.zeros_like(task.weights[0])
    before = 26
    for step in range(27, 53):
        if step % CONFIG.average_period == 0 or step % BATCHES_PER_EPOCH == 0:
            total += task.weights[step] * (step - before)
            before = step
    names = [name for name, w in pretrained(folder).items() if w.is_floating_point()]
    like = load_checkpoint(folder / "epoch-4.pt")["model"]
    is_float = torch.cat([torch.full((w.numel(),), w.is_floating_point()) for w in like.values()])
    averaged = flat({name: pretrained(folder)[name] for name in names})
    torch.testing.assert_close(averaged, (total / 26)[is_float], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kill_at", [0, 3, 5, 12, 13, 14, 30, 51])
def test_killed_run_ends_with_the_weights_of_an_uninterrupted_one(
    uninterrupted: tuple[Path, ToyTask], tmp_path: Path, kill_at: int
) -> None:
    with pytest.raises(Killed):
        new_trainer(tmp_path, ToyTask(kill_at)).run()
    again = ToyTask()
    new_trainer(tmp_path, again).run()
    last_save = max(n for n in range(kill_at + 1) if n % CONFIG.save_every_n == 0 or n % BATCHES_PER_EPOCH == 0)
    assert again.steps == list(range(last_save, 52))
    for name, weight in pretrained(uninterrupted[0]).items():
        assert torch.equal(pretrained(tmp_path)[name], weight), name


def test_run_killed_twice_with_a_damaged_checkpoint_ends_with_the_same_weights(
    uninterrupted: tuple[Path, ToyTask], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for kill_at in (17, 20):
        with pytest.raises(Killed):
            new_trainer(tmp_path, ToyTask(kill_at)).run()
    newest = tmp_path / "checkpoint-35.pt"
    assert newest.is_file()
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    again = ToyTask()
    with caplog.at_level(logging.WARNING):
        new_trainer(tmp_path, again).run()
    assert "checkpoint-35.pt is damaged" in caplog.text and again.steps[0] == 30
    for name, weight in pretrained(uninterrupted[0]).items():
        assert torch.equal(pretrained(tmp_path)[name], weight), name


def train(folder: Path, **values: object) -> dict[str, Tensor]:
    """Run a training with other values to its end, going on with what is in the folder; returns its model."""
    new_trainer(folder, ToyTask(), replace(CONFIG, **values)).run()
    return pretrained(folder)


def are_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(w, b[name]) for name, w in a.items())


def test_how_often_is_saved_and_logged_changes_no_weight(uninterrupted: tuple[Path, ToyTask], tmp_path: Path) -> None:
    other = train(tmp_path, save_every_n=3, keep_last_k=2, log_interval=1, keep_epochs=9, scan_worst_batches=False)
    assert are_equal(pretrained(uninterrupted[0]), other)
    content = load_checkpoint(uninterrupted[0] / "epoch-4.pt")
    assert "running_average" not in content


def test_a_checkpoint_has_the_mean_over_exactly_its_steps(tmp_path: Path) -> None:
    task = ToyTask(kill_at=11)
    with pytest.raises(Killed):
        new_trainer(tmp_path, task).run()
    content = load_checkpoint(tmp_path / "checkpoint-10.pt")
    weights = {4: task.weights[4], 8: task.weights[8], 10: task.weights[10]}
    mean = (4 * weights[4] + 4 * weights[8] + 2 * weights[10]) / 10
    is_float = flat({n: torch.full_like(w, float(w.is_floating_point())) for n, w in content["model"].items()}) > 0
    torch.testing.assert_close(flat(content["model_avg"])[is_float], mean[is_float], atol=1e-6, rtol=1e-5)


def test_more_epochs_go_on_as_if_they_had_been_planned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = train(tmp_path / "whole", schedule="eden", num_epochs=5)
    train(tmp_path / "parts", schedule="eden", num_epochs=2)
    assert are_equal(train(tmp_path / "parts", schedule="eden", num_epochs=5), whole) and "planned" not in caplog.text


def test_more_epochs_of_a_cosine_go_on_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tmp_path, num_epochs=2)
    assert "planned" not in caplog.text
    train(tmp_path, num_epochs=3)
    assert "was planned for 2 epochs, and is now that of 3" in caplog.text and "--redo" in caplog.text
    assert load_checkpoint(tmp_path / "epoch-3.pt")["batch_idx_train"] == 39


def test_fewer_epochs_take_those_that_are_there_or_say_that_they_are_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shorter = train(tmp_path / "shorter", schedule="eden", num_epochs=3)
    train(tmp_path / "longer", schedule="eden", num_epochs=4, keep_epochs=4)
    assert are_equal(train(tmp_path / "longer", schedule="eden", num_epochs=3, keep_epochs=4), shorter)
    assert "was trained for 4 epochs: the model is that of epoch 3" in caplog.text
    one = train(tmp_path / "longer", schedule="eden", num_epochs=4, average_epochs=1, keep_epochs=4)
    assert are_equal(one, train(tmp_path / "one", schedule="eden", num_epochs=4, average_epochs=1))
    train(tmp_path / "few", schedule="eden", num_epochs=4)  # keeps epochs 2 to 4
    before = pretrained(tmp_path / "few")
    with pytest.raises(DataError, match=r"trained for 4 epochs and has no epoch-1\.pt any more.*set num_epochs to 4"):
        train(tmp_path / "few", schedule="eden", num_epochs=3)
    assert are_equal(before, pretrained(tmp_path / "few"))


def test_finished_run_has_nothing_to_do(uninterrupted: tuple[Path, ToyTask]) -> None:
    before = pretrained(uninterrupted[0])
    task = ToyTask()
    new_trainer(uninterrupted[0], task).run()
    assert task.steps == [] and all(torch.equal(pretrained(uninterrupted[0])[k], v) for k, v in before.items())


def test_learning_rate_warms_up_then_falls(uninterrupted: tuple[Path, ToyTask]) -> None:
    rates = uninterrupted[1].rates
    assert rates[:5] == pytest.approx([CONFIG.base_lr * (i + 1) / 5 for i in range(5)])
    assert all(a >= b for a, b in zip(rates[4:], rates[5:], strict=False))
    assert max(rates) == pytest.approx(CONFIG.base_lr)
    assert CONFIG.base_lr * CONFIG.final_lr_factor <= rates[-1] < 1.2 * CONFIG.base_lr * CONFIG.final_lr_factor


def test_step_without_a_finite_loss_is_skipped(tmp_path: Path) -> None:
    task = ToyTask()
    trainer = new_trainer(tmp_path, task)
    calls = iter(range(10_000))
    compute = task.compute_loss

    def sometimes_nan(model: nn.Module, batch: Tensor, step: int) -> StepLoss:
        result = compute(model, batch, step)
        return replace(result, loss=result.loss * float("nan")) if next(calls) in (4, 5, 40) else result

    task.compute_loss = sometimes_nan  # type: ignore[method-assign]
    trainer.run()
    assert load_checkpoint(tmp_path / "epoch-4.pt")["batch_idx_train"] == 49
    assert all(torch.isfinite(w).all() for w in pretrained(tmp_path).values())


def test_training_that_has_diverged_stops_with_advice(tmp_path: Path) -> None:
    task = ToyTask(nan_at=tuple(range(20, 60)))
    with pytest.raises(DataError, match=r"3 steps in a row had no finite loss; lower base_lr \(0\.02\)"):
        new_trainer(tmp_path, task).run()
    assert (tmp_path / "epoch-1.pt").is_file() and not (tmp_path / "pretrained.pt").exists()


def test_checkpoint_of_another_model_is_refused(uninterrupted: tuple[Path, ToyTask]) -> None:
    trainer = Trainer(nn.Linear(3, 1), ToyTask(), CONFIG, uninterrupted[0], torch.device("cpu"))
    with pytest.raises(DataError, match=r"epoch-4\.pt does not fit this model.*move .* away"):
        trainer.run()


def test_no_batches_is_an_error(tmp_path: Path) -> None:
    task = ToyTask()
    task.num_train_batches = lambda epoch: 0  # type: ignore[method-assign]
    with pytest.raises(DataError, match="gives no batches"):
        new_trainer(tmp_path, task).run()


def test_skipped_batch_is_recorded(tmp_path: Path) -> None:
    """NaN in the input reaches neither the weights nor the running statistics of batch normalisation."""
    task = ToyTask()
    train_batches = task.train_batches

    def with_nan(epoch: int) -> Iterator[Tensor]:
        for i, batch in enumerate(train_batches(epoch)):
            yield batch.index_fill(0, torch.tensor([3]), float("nan")) if (epoch, i) == (2, 6) else batch

    task.train_batches = with_nan  # type: ignore[method-assign]
    new_trainer(tmp_path, task).run()
    (path,) = (tmp_path / "bad-batches").iterdir()
    content = json.loads(path.read_text())
    assert path.name == "epoch-2-batch-6.json"
    assert (content["epoch"], content["batch"], content["step"], content["loss"]) == (2, 6, 19, "nan")
    assert len(content["ids"]) == 16 and content["ids"][3] == "nan"
    final = load_checkpoint(tmp_path / "epoch-4.pt")
    assert final["batch_idx_train"] == 51 and all(torch.isfinite(w).all() for w in final["model"].values())


def test_non_finite_gradient_with_finite_loss_is_a_bad_step(tmp_path: Path) -> None:
    task = ToyTask()
    compute = task.compute_loss

    def steep(model: nn.Module, batch: Tensor, step: int) -> StepLoss:
        result = compute(model, batch, step)
        hole = (result.loss - result.loss.detach()).sqrt() if model.training and step == 5 else 0.0  # gradient inf
        return replace(result, loss=result.loss + hole)

    task.compute_loss = steep  # type: ignore[method-assign]
    with pytest.raises(DataError, match="3 steps in a row"):
        new_trainer(tmp_path, task).run()
    assert len(list((tmp_path / "bad-batches").iterdir())) == 3


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    """13 batches, 4 per step: four steps per epoch, the last filled up with the first batches of the epoch."""
    task = ToyTask()
    config = replace(CONFIG, accum_grad=4, num_epochs=2, average_epochs=1)
    new_trainer(tmp_path, task, config).run()
    assert task.steps == [step for step in range(8) for _ in range(4)]
    assert load_checkpoint(tmp_path / "epoch-2.pt")["batch_idx_train"] == 8


def test_killed_run_with_accumulation_resumes_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, accum_grad=3, num_epochs=2, average_epochs=1, save_every_n=2)
    new_trainer(tmp_path / "whole", ToyTask(), config).run()
    with pytest.raises(Killed):
        new_trainer(tmp_path / "killed", ToyTask(23), config).run()
    again = ToyTask()
    new_trainer(tmp_path / "killed", again, config).run()
    assert again.steps[0] == 6 and len(again.steps) == 12
    for name, weight in pretrained(tmp_path / "whole").items():
        assert torch.equal(pretrained(tmp_path / "killed")[name], weight), name


def test_only_the_newest_checkpoints_inside_an_epoch_are_kept(tmp_path: Path) -> None:
    config = replace(CONFIG, save_every_n=2, keep_last_k=3)
    with pytest.raises(Killed):
        new_trainer(tmp_path, ToyTask(12), config).run()
    assert {p.name for p in tmp_path.glob("*.pt")} == {f"checkpoint-{n}.pt" for n in (8, 10, 12)}


@pytest.mark.parametrize("values", [{"precision": "int8"}, {"accum_grad": 0}, {"keep_last_k": 1}, {"seed": -1}])
def test_values_out_of_range_are_refused(values: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        replace(CONFIG, **values)


def test_a_precision_that_was_measured_stays_that_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, precision="auto", num_epochs=1, average_epochs=1)
    seconds = {torch.float32: 2.0, torch.bfloat16: 1.0}
    monkeypatch.setattr(state, "_seconds_of_product", seconds.__getitem__)
    trainer = Trainer(nn.Linear(3, 1), ToyTask(), config, tmp_path, torch.device("cpu"))
    trainer.run()
    with trainer.autocast():
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    seconds[torch.bfloat16] = 1.9  # on another machine, say
    assert state.quickest_precision(torch.device("cpu")) == "float32"
    later = Trainer(nn.Linear(3, 1), ToyTask(), replace(config, num_epochs=2), tmp_path, torch.device("cpu"))
    assert later.state.precision == "float32"
    later.resume()
    assert later.state.precision == "bf16"
