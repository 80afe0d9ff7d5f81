"""Where training goes on: the newest good checkpoint or the one asked for, refused where it is of another training."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lhotse_prep.workflow.errors import DataError
from ml2021.training.checkpoint import load_checkpoint, newest_checkpoint, training_checkpoints

logger = logging.getLogger(__name__)


def find_start(exp_dir: Path, start: str | None) -> Path | None:
    """The checkpoint to go on from; None: there is none yet.

    Args:
      exp_dir: the folder of the training.
      start: a file's name such as epoch-3.pt; None: the newest that can be read. What is newer than the one named is
        put aside as NAME.superseded, so that a later start does not go on from it.
    """
    if start is None:
        found = newest_checkpoint(exp_dir)
        return None if found is None else found[0]
    first_step = load_checkpoint(exp_dir / start)["batch_idx_train"]
    for path in training_checkpoints(exp_dir):
        if path.name != start and _step_of(path) > first_step:
            path.rename(path.with_name(path.name + ".superseded"))
            path.with_name(path.name + ".sha256").unlink(missing_ok=True)
            logger.warning("%s is newer than the start asked for: put aside as %s.superseded", path, path.name)
    return exp_dir / start


def require_same_training(
    path: Path, content: Mapping[str, Any], model: Mapping[str, Tensor], fingerprint: Mapping[str, str], batching: str
) -> None:
    """Refuse to go on from a checkpoint of other data, another vocabulary or another model, saying what differs.

    Args:
      path: of the checkpoint.
      content: its content.
      model: state_dict of the model that is to go on.
      fingerprint, batching: what the task says of itself now; a checkpoint without them is not held against them.
    Raises:
      DataError: something differs.
    """
    differing = [
        f"{name}: then {then}, now {fingerprint.get(name, 'none')}"
        for name, then in content.get("fingerprint", {}).items()
        if fingerprint.get(name) != then
    ]
    if differing:
        raise DataError(
            f"{path} is of another training ({'; '.join(differing)}); "
            f"move {path.parent} away to train from the start, or give the checkpoint as --init-from"
        )
    shapes = shape_differences(content["model"], model)
    if shapes:
        raise DataError(
            f"{path} does not fit this model: {'; '.join(shapes[:3])}{' ...' if len(shapes) > 3 else ''}; "
            f"take the configuration that it was trained with, or move {path.parent} away to train from the start"
        )
    then = content.get("batching", batching)
    if then != batching:
        if content["sampler"]["batches_done"] > 0:
            raise DataError(
                f"{path} was saved inside an epoch whose batches were made with {then}, now {batching}; "
                "give the same values, or begin with an epoch (--start-epoch)"
            )
        logger.warning("from this epoch on, batches are made with %s; they were made with %s", batching, then)


def shape_differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """How the weights of a checkpoint differ from a model's, a parameter each."""
    differences = [f"no weight {name}" for name in wanted if name not in found]
    differences += [f"unknown weight {name}" for name in found if name not in wanted]
    differences += [
        f"{name} is {tuple(found[name].shape)}, the model's is {tuple(w.shape)}"
        for name, w in wanted.items()
        if name in found and found[name].shape != w.shape
    ]
    return differences


def _step_of(path: Path) -> float:
    """Steps of a checkpoint; one that cannot be read counts as the newest."""
    match = re.fullmatch(r"checkpoint-(\d+)\.pt", path.name)
    if match:
        return int(match.group(1))
    try:
        return load_checkpoint(path)["batch_idx_train"]
    except DataError:
        return float("inf")
