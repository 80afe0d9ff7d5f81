"""The one training loop, for recogniser and translator: steps, running average, checkpoints, resume, TensorBoard."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lhotse_prep.errors import DataError
from ml2021.checkpoint import epoch_numbers, load_averaged, newest_checkpoint, save_checkpoint
from ml2021.config import TrainConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepLoss:
    """What a batch gives: the loss to go down, and sums to report (each divided by `weight` when shown)."""

    loss: Tensor  # scalar
    sums: dict[str, float]
    weight: float


class Task(Protocol):
    """What the loop needs to know of a kind of model."""

    def train_batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch (1-based), a function of seed and epoch alone."""
        ...

    def num_train_batches(self, epoch: int) -> int:
        """How many batches an epoch has, found without making them where that is dear."""
        ...

    def valid_batches(self) -> Iterator[Any]:
        """The batches of the dev part."""
        ...

    def compute_loss(self, model: nn.Module, batch: Any, step: int) -> StepLoss:
        """The loss of a batch; step counts from the start of training."""
        ...


class Trainer:
    """Trains a model on a task; `run()` goes on from the newest good checkpoint in exp_dir."""

    def __init__(self, model: nn.Module, task: Task, config: TrainConfig, exp_dir: Path, device: torch.device) -> None:
        self.model = model.to(device)
        self.task, self.config, self.exp_dir, self.device = task, config, exp_dir, device
        self.model_avg = copy.deepcopy(model).to(torch.float64)
        self.optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.base_lr, fused=True)
        self.step = 0  # steps done, over all epochs
        self.averaged_steps = 0  # of them, in model_avg
        self.epoch = 1
        self.batches_done = 0  # in this epoch
        self.num_steps = 0  # in all, known once an epoch has been counted
        self.bad_steps = 0
        exp_dir.mkdir(parents=True, exist_ok=True)

    def run(self) -> None:
        """Train to the last epoch and write pretrained.pt, the average over the last epochs.

        What is logged meanwhile goes to log/train-DATE.txt, too.
        """
        _seed_everything(self.config.seed)
        with _log_file(self.exp_dir / "log" / f"train-{time.strftime('%Y%m%d-%H%M%S')}.txt"):
            self._resume()
            writer = SummaryWriter(str(self.exp_dir / "tensorboard"), purge_step=self.step)
            try:
                while self.epoch <= self.config.num_epochs:
                    self._train_epoch(writer)
                    self._validate(writer)
                    self.epoch, self.batches_done = self.epoch + 1, 0
                    self._save(f"epoch-{self.epoch - 1}.pt")
                    self._remove_old()
            finally:
                writer.close()
            self._save_pretrained()

    def _train_epoch(self, writer: SummaryWriter) -> None:
        if self.num_steps == 0:
            self.num_steps = self.config.num_epochs * self.task.num_train_batches(self.epoch)
            if self.num_steps == 0:
                raise DataError("the train part gives no batches: it is empty, or max_duration is below every cut")
        self.model.train()
        torch.manual_seed(self.config.seed + 7919 * self.epoch)
        total, weight, started = dict[str, float](), 0.0, time.time()
        batches = self.task.train_batches(self.epoch)
        bar = tqdm(
            batches, desc=f"epoch {self.epoch}", disable=not sys.stderr.isatty(), leave=False,
            total=self.num_steps // self.config.num_epochs,
        )  # fmt: skip
        for index, batch in enumerate(bar):
            if index < self.batches_done:  # already trained on, before a resume
                continue
            torch.manual_seed(self.config.seed + 104_729 * (self.step + 1))  # dropout as in a run that was not killed
            result = self._train_step(batch)
            self.batches_done = index + 1
            if result is None:
                continue
            for name, value in result.sums.items():
                total[name] = total.get(name, 0.0) + value
            weight += result.weight
            if self.step % self.config.log_interval == 0:
                shown = {k: v / max(result.weight, 1e-9) for k, v in result.sums.items()}
                _write_scalars(writer, "train/current_", shown, self.step)
                writer.add_scalar("train/learning_rate", self._learning_rate(), self.step)
                bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()})
                if bar.disable:
                    logger.info(
                        "epoch %d: step %d of about %d, %s", self.epoch, self.step, self.num_steps, _show(shown)
                    )
            if self.step % self.config.save_every_n == 0:
                self._save(f"checkpoint-{self.step}.pt")
        means = {k: v / max(weight, 1e-9) for k, v in total.items()}
        _write_scalars(writer, "train/epoch_", means, self.step)
        logger.info("epoch %d: step %d, %s, %.1f s", self.epoch, self.step, _show(means), time.time() - started)

    def _train_step(self, batch: Any) -> StepLoss | None:
        """One optimiser step; None where the loss is not finite and the step was left out."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        result = self.task.compute_loss(self.model, batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        if torch.isfinite(result.loss):
            result.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        if not (torch.isfinite(result.loss) and torch.isfinite(norm)):
            self.bad_steps += 1
            logger.warning("step %d left out: its loss or gradient is not finite", self.step)
            if self.bad_steps >= self.config.max_bad_steps:
                raise DataError(
                    f"{self.bad_steps} steps in a row had no finite loss; lower base_lr ({self.config.base_lr}), "
                    "or look for NaN in the features (python -m lhotse_prep.validate)"
                )
            return None
        self.bad_steps = 0
        self.optimizer.step()
        self.step += 1
        if self.step % self.config.average_period == 0:
            self._update_average()
        return result

    @torch.no_grad()
    def _update_average(self) -> None:
        """Bring model_avg up to this step: the weights now count for all steps since the last update.

        So model_avg in a checkpoint is the mean over exactly its steps, as average_with_running_average needs it.
        """
        part = (self.step - self.averaged_steps) / max(self.step, 1)
        current = self.model.state_dict()
        for name, mean in self.model_avg.state_dict().items():
            if mean.is_floating_point():
                mean.mul_(1 - part).add_(current[name].to(mean.dtype), alpha=part)
            else:
                mean.copy_(current[name])
        self.averaged_steps = self.step

    def _learning_rate(self) -> float:
        """Linear warm-up, then a half cosine down to final_lr_factor."""
        c = self.config
        if self.step < c.warmup_steps:
            return c.base_lr * (self.step + 1) / c.warmup_steps
        progress = min(1.0, (self.step - c.warmup_steps) / max(1, self.num_steps - c.warmup_steps))
        return c.base_lr * (c.final_lr_factor + (1 - c.final_lr_factor) * 0.5 * (1 + math.cos(math.pi * progress)))

    @torch.no_grad()
    def _validate(self, writer: SummaryWriter) -> None:
        self.model.eval()
        total, weight = dict[str, float](), 0.0
        for batch in self.task.valid_batches():
            result = self.task.compute_loss(self.model, batch, self.step)
            for name, value in result.sums.items():
                total[name] = total.get(name, 0.0) + value
            weight += result.weight
        if weight > 0:
            means = {k: v / weight for k, v in total.items()}
            _write_scalars(writer, "valid/", means, self.step)
            logger.info("epoch %d: dev %s", self.epoch, _show(means))

    def _save(self, name: str) -> None:
        self._update_average()
        content = {
            "model": self.model.state_dict(),
            "model_avg": self.model_avg.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None,  # the learning rate is a function of the step
            "grad_scaler": None,
            "sampler": {"epoch": self.epoch, "batches_done": self.batches_done},
            "batch_idx_train": self.step,
            "num_steps": self.num_steps,
        }
        save_checkpoint(self.exp_dir / name, content)

    def _resume(self) -> None:
        found = newest_checkpoint(self.exp_dir)
        if found is None:
            return
        path, content = found
        try:
            self.model.load_state_dict(content["model"])
            self.model_avg.load_state_dict(content["model_avg"])
            self.optimizer.load_state_dict(content["optimizer"])
        except (RuntimeError, ValueError, KeyError) as e:
            raise DataError(
                f"{path} does not fit this model: {str(e).splitlines()[-1].strip()}; "
                f"move {self.exp_dir} away to train from the start"
            ) from e
        self.step = self.averaged_steps = content["batch_idx_train"]
        self.num_steps = content["num_steps"]
        self.epoch, self.batches_done = content["sampler"]["epoch"], content["sampler"]["batches_done"]
        logger.info("going on from %s: epoch %d, step %d", path, self.epoch, self.step)

    def _remove_old(self) -> None:
        """Keep the newest epochs; a checkpoint inside an epoch is of no use once the epoch is over."""
        old = epoch_numbers(self.exp_dir)[: -self.config.keep_epochs]
        for path in [self.exp_dir / f"epoch-{n}.pt" for n in old] + list(self.exp_dir.glob("checkpoint-*.pt")):
            path.unlink()
            path.with_name(path.name + ".sha256").unlink(missing_ok=True)

    def _save_pretrained(self) -> None:
        c = self.config
        weights = load_averaged(self.exp_dir, c.num_epochs, min(c.average_epochs, c.num_epochs), True)
        like = self.model.state_dict()
        save_checkpoint(self.exp_dir / "pretrained.pt", {"model": {k: v.to(like[k].dtype) for k, v in weights.items()}})


@contextlib.contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Copy what is logged in the meantime to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices only, not biases and norms."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _write_scalars(writer: SummaryWriter, prefix: str, values: dict[str, float], step: int) -> None:
    for name, value in values.items():
        writer.add_scalar(prefix + name, value, step)


def _show(values: dict[str, float]) -> str:
    return ", ".join(f"{k} {v:.4f}" for k, v in values.items())
