"""Reporting of a training: TensorBoard, a progress bar on a terminal (log lines elsewhere), a log file, bad batches."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from lhotse_prep.workflow.files import write_json
from ml2021.training.distributed import World
from ml2021.training.task import Example

logger = logging.getLogger(__name__)
BOOKKEEPING = ("weight", "seconds", "num_left_out")  # sums that are not averages of the task


class Progress:
    """Reports the progress of one training; only the main process writes."""

    def __init__(self, exp_dir: Path, first_step: int, log_interval: int, world: World) -> None:
        self.writer = SummaryWriter(str(exp_dir / "tensorboard"), purge_step=first_step) if world.is_main else None
        self.log_interval, self.world = log_interval, world
        self.bar: tqdm | None = None
        self.epoch = self.num_steps = 0
        self.total: dict[str, float] = {}  # sums over the epoch
        self.started = self.interval_started = time.monotonic()
        self.interval_seconds = 0.0  # of audio

    def begin_epoch(
        self, epoch: int, steps: Iterable[Any], num_done: int, steps_per_epoch: int, num_steps: int
    ) -> Iterable[Any]:
        """Wrap the steps of an epoch in a progress bar; num_done steps of this epoch were done by an earlier run."""
        self.epoch, self.num_steps, self.total = epoch, num_steps, {}
        self.started = self.interval_started = time.monotonic()
        self.interval_seconds = 0.0
        hidden = not (self.world.is_main and sys.stderr.isatty())
        bar: Iterable[Any] = tqdm(
            steps, desc=f"epoch {epoch}", disable=hidden, leave=False, initial=num_done, total=steps_per_epoch
        )
        self.bar = bar
        return bar

    def add_step(self, step: int, sums: Mapping[str, float], learning_rate: float, grad_norm: float) -> None:
        """Add a step's sums over all processes, and report every log_interval steps."""
        for name, value in sums.items():
            self.total[name] = self.total.get(name, 0.0) + value
        self.interval_seconds += sums["seconds"]
        if step % self.log_interval or not self.world.is_main:
            return
        means = _means(sums)
        self._scalars("train/current_", means, step)
        extra = {"learning_rate": learning_rate, "grad_norm": grad_norm}
        elapsed, self.interval_started = time.monotonic() - self.interval_started, time.monotonic()
        if self.interval_seconds:
            extra["audio_seconds_per_second"] = self.interval_seconds / max(elapsed, 1e-9)
        self.interval_seconds = 0.0
        self._scalars("train/", extra, step)
        assert self.bar is not None
        self.bar.set_postfix({k: f"{v:.3f}" for k, v in means.items()})
        if self.bar.disable:
            logger.info("epoch %d: step %d of about %d, %s", self.epoch, step, self.num_steps, _format(means | extra))

    def end_epoch(self, step: int) -> None:
        """Report the means over the epoch, and how many utterances were left out of the loss."""
        means = _means(self.total)
        self._scalars("train/epoch_", means, step)
        seconds = time.monotonic() - self.started
        logger.info("epoch %d: step %d, %s, %.1f s", self.epoch, step, _format(means), seconds)
        if self.total.get("num_left_out"):
            logger.warning(
                "epoch %d: %d utterances left out of the loss: they have more tokens than encoder frames",
                self.epoch,
                round(self.total["num_left_out"]),
            )

    def add_valid(self, step: int, epoch: int, sums: Mapping[str, float], example: Example | None) -> None:
        """Report the means over the dev part, and one decoded utterance of it."""
        if sums.get("weight"):
            means = _means(sums)
            self._scalars("valid/", means, step)
            logger.info("epoch %d: dev %s", epoch, _format(means))
        if example is not None:
            logger.info("epoch %d: %s: ref %r, hyp %r", epoch, example.id, example.ref, example.hyp)
            if self.writer is not None:
                text = f"{example.id}\n\n    ref: {example.ref}\n    hyp: {example.hyp}"
                self.writer.add_text("valid/example", text, step)

    def close(self) -> None:
        """Close the bar and flush TensorBoard's events."""
        if self.bar is not None:
            self.bar.close()
        if self.writer is not None:
            self.writer.close()

    def _scalars(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        if self.writer is not None:
            for name, value in values.items():
                self.writer.add_scalar(prefix + name, value, step)


def dump_batch(exp_dir: Path, ids: Sequence[str], epoch: int, batch: int, step: int, loss: float) -> Path:
    """Record a batch with a non-finite loss or gradient in exp_dir/bad-batches/epoch-E-batch-B.json, for inspection.

    Args:
      ids: ids of the items in the batch, such as cuts.
      epoch: epoch number, from 1.
      batch: number of the batch in the epoch, counted over all processes.
      step: optimiser steps done before this batch.
      loss: its loss, which may be finite if only the gradient is not.
    Returns:
      The path of the file.
    """
    path = exp_dir / "bad-batches" / f"epoch-{epoch}-batch-{batch}.json"
    write_json(path, {"epoch": epoch, "batch": batch, "step": step, "loss": str(loss), "ids": list(ids)})
    return path


@contextlib.contextmanager
def log_file(folder: Path, world: World) -> Iterator[None]:
    """Copy the main process's log to folder/train-DATE.txt while the with-block runs."""
    if not world.is_main:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(folder / f"train-{time.strftime('%Y%m%d-%H%M%S')}.txt", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    """The task's sums, each divided by the weight."""
    return {k: v / max(sums["weight"], 1e-9) for k, v in sums.items() if k not in BOOKKEEPING}


def _format(values: Mapping[str, float]) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in values.items())
