"""Resuming a training from the newest readable checkpoint or a named one, unless it belongs to another training."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lhotse_prep.workflow.errors import DataError
from ml2021.training.checkpoint import epoch_numbers, load_checkpoint, newest_checkpoint, training_checkpoints
from ml2021.training.config import TrainConfig

logger = logging.getLogger(__name__)


def find_start(exp_dir: Path, start: str | None) -> Path | None:
    """The checkpoint to resume from, or None if there is none yet.

    Args:
      exp_dir: the folder of the training.
      start: a file name such as epoch-3.pt, or None for the newest that can be read. Checkpoints newer than a named one
        are renamed to NAME.superseded, so that a later run does not resume from them.
    """
    if start is None:
        newest = newest_checkpoint(exp_dir)
        return None if newest is None else newest[0]
    first_step = load_checkpoint(exp_dir / start)["batch_idx_train"]
    for path in training_checkpoints(exp_dir):
        if path.name != start and _step_of(path) > first_step:
            path.rename(path.with_name(path.name + ".superseded"))
            path.with_name(path.name + ".sha256").unlink(missing_ok=True)
            logger.warning("%s is newer than the requested start: renamed to %s.superseded", path, path.name)
    return exp_dir / start


def require_same_training(
    path: Path, content: Mapping[str, Any], model: Mapping[str, Tensor], fingerprint: Mapping[str, str], batching: str
) -> None:
    """Refuse to resume from a checkpoint with other data, another vocabulary or another model, and say what differs.

    Args:
      path: the checkpoint's path, for messages.
      content: the checkpoint's content.
      model: state_dict of the model to be trained.
      fingerprint, batching: those of the current task; they are not compared if the checkpoint has none.
    Raises:
      DataError: something differs.
    """
    differing = [
        f"{name}: then {before}, now {fingerprint.get(name, 'none')}"
        for name, before in content.get("fingerprint", {}).items()
        if fingerprint.get(name) != before
    ]
    if differing:
        raise DataError(
            f"{path} belongs to another training ({'; '.join(differing)}); "
            f"move {path.parent} away to train from the start, or pass the checkpoint as --init-from"
        )
    shapes = shape_differences(content["model"], model)
    if shapes:
        raise DataError(
            f"{path} does not fit this model: {'; '.join(shapes[:3])}{' ...' if len(shapes) > 3 else ''}; "
            f"use the configuration that it was trained with, or move {path.parent} away to train from the start"
        )
    old_batching = content.get("batching", batching)
    if old_batching != batching:
        # the number of processes may change anywhere: it only decides how many of the same batches make a step
        if content["sampler"]["batches_done"] > 0 and _of_batches(old_batching) != _of_batches(batching):
            raise DataError(
                f"{path} was saved inside an epoch whose batches were made with {old_batching}, now {batching}; "
                "use the same values and, on CPUs, as many processes, or start from a whole epoch (--start-epoch)"
            )
        logger.warning("from here on, batches are made with %s; before with %s", batching, old_batching)


def _of_batches(batching: str) -> str:
    """Without ", N batches a step"."""
    return batching.rpartition(", ")[0]


def warn_of_other_length(content: Mapping[str, Any], config: TrainConfig) -> None:
    """Log a warning if a checkpoint's learning rate was planned for another number of epochs.

    The schedule eden does not depend on it: a training that is made longer equals one that was as long from the start.
    """
    planned = content.get("num_epochs", config.num_epochs)
    if config.schedule == "cosine" and planned != config.num_epochs:
        logger.warning(
            "the learning rate (schedule: cosine) was planned for %d epochs, and is now that of %d: a training of %d "
            "epochs from the start would give other weights; for that, begin anew (./run.sh --redo)",
            planned,
            config.num_epochs,
            config.num_epochs,
        )


def require_epochs(exp_dir: Path, num_trained: int, config: TrainConfig) -> None:
    """Check that a training of num_trained epochs, at least config.num_epochs, still has the epochs to be averaged.

    Raises:
      DataError: it has not.
    """
    last, num_averaged = config.num_epochs, min(config.average_epochs, config.num_epochs)
    needed = [n for n in (last - num_averaged, last) if n > 0]
    if num_trained > last:
        logger.warning("%s was trained for %d epochs: the model is that of epoch %d", exp_dir, num_trained, last)
    missing = [f"epoch-{n}.pt" for n in needed if n not in epoch_numbers(exp_dir)]
    if missing:
        raise DataError(
            f"{exp_dir} was trained for {num_trained} epochs and has no {' and '.join(missing)} any more, which "
            f"num_epochs {last} and average_epochs {config.average_epochs} need (the newest keep_epochs = "
            f"{config.keep_epochs} were kept): set num_epochs to {num_trained} and average_epochs as it was, or begin "
            "anew (./run.sh --redo)"
        )


def shape_differences(loaded: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> list[str]:
    """How the weights of a checkpoint differ from those of a model, one message per weight."""
    differences = [f"no weight {name}" for name in model if name not in loaded]
    differences += [f"unknown weight {name}" for name in loaded if name not in model]
    differences += [
        f"{name} is {tuple(loaded[name].shape)}, the model's is {tuple(w.shape)}"
        for name, w in model.items()
        if name in loaded and loaded[name].shape != w.shape
    ]
    return differences


def _step_of(path: Path) -> float:
    """The steps of a checkpoint; infinity if it cannot be read."""
    match = re.fullmatch(r"checkpoint-(\d+)\.pt", path.name)
    if match:
        return int(match.group(1))
    try:
        return float(load_checkpoint(path)["batch_idx_train"])
    except DataError:
        return float("inf")
