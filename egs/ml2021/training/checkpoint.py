"""Checkpoints: written atomically with a sha256, loaded without executing code, averaged as in icefall."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PosixPath
from typing import Any

import torch
from torch import Tensor

from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_text

MARGIN = 0.01  # of the loss on dev: smaller differences between averages are chance

# icefall's epoch-N.pt also holds its options, including paths, whose class has another name from Python 3.13 on.
_PATHS: list[Any] = [(PosixPath, "pathlib.PosixPath"), (PosixPath, "pathlib._local.PosixPath")]
logger = logging.getLogger(__name__)


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint and its sha256 (`NAME.sha256`); a kill at any moment leaves the old file or the new one.

    The old hash is removed first: a file without a hash is read unchecked, but one with a wrong hash counts as damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _hash_path(path).unlink(missing_ok=True)
    with whole_file(path, "wb") as f:
        torch.save(content, f)
    _sync_folder(path.parent)
    write_text(_hash_path(path), f"{digest_file(path)}  {path.name}\n")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
      DataError: the file is missing or damaged, or holds anything but tensors and plain values.
    """
    if not path.is_file():
        existing = ", ".join(p.name for p in training_checkpoints(path.parent))
        listing = f" ({path.parent} has {existing})" if existing else ""
        raise DataError(
            f"no checkpoint {path}{listing}; train first (stage 5 or 8), or name another --exp-dir, --epoch or --avg"
        )
    hash_path = _hash_path(path)
    if hash_path.is_file() and hash_path.read_text().split()[:1] != [digest_file(path)]:
        raise DataError(f"checkpoint {path} is damaged: its sha256 is not that in {hash_path.name}; use another epoch")
    try:
        with torch.serialization.safe_globals(_PATHS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises many types for a file that is not a checkpoint
        raise DataError(f"{path} cannot be read as a checkpoint: {(str(e) or repr(e)).splitlines()[0]}") from e
    if not isinstance(content, dict) or "model" not in content:
        raise DataError(f"{path} is not a checkpoint of a model: it has no key 'model'")
    return content


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its hash."""
    path.unlink()
    _hash_path(path).unlink(missing_ok=True)


def remove_unfinished(exp_dir: Path) -> None:
    """Remove temporary files of a save_checkpoint that was killed. No other process may be saving at the same time."""
    for path in exp_dir.glob(".*.pt*.tmp"):
        path.unlink()


def training_checkpoints(exp_dir: Path) -> list[Path]:
    """All epoch-N.pt, then all checkpoint-N.pt of a training, each by ascending N."""
    return [exp_dir / f"{kind}-{n}.pt" for kind in ("epoch", "checkpoint") for n in _numbers(exp_dir, kind)]


def newest_checkpoint(exp_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The readable checkpoint with the most steps and its content; damaged ones are skipped with a warning."""
    kinds = (
        [exp_dir / f"{kind}-{n}.pt" for n in reversed(_numbers(exp_dir, kind))] for kind in ("epoch", "checkpoint")
    )
    readable = [newest for paths in kinds if (newest := _first_readable(paths)) is not None]
    return max(readable, key=lambda item: item[1]["batch_idx_train"], default=None)


def _first_readable(paths: Sequence[Path]) -> tuple[Path, dict[str, Any]] | None:
    for path in paths:
        try:
            return path, load_checkpoint(path)
        except DataError as e:
            logger.warning("%s; falling back to the previous one", e)
    return None


def average_checkpoints(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean weights of several checkpoints."""
    total: dict[str, Tensor] = {}
    for path in paths:
        for name, value in load_checkpoint(path)["model"].items():
            total[name] = total[name] + value.double() if name in total else value.double()
    first = load_checkpoint(paths[0])["model"]
    return {name: (value / len(paths)).to(first[name].dtype) for name, value in total.items()}


def average_with_running_average(start: Path, end: Path) -> dict[str, Tensor]:
    """The mean weights over all steps between two checkpoints, computed from their running averages `model_avg`.

    If a(n) is the mean over steps 1..n, the mean over m+1..n is (n a(n) - m a(m)) / (n - m).
    """
    first, last = load_checkpoint(start), load_checkpoint(end)
    m, n = first["batch_idx_train"], last["batch_idx_train"]
    if n <= m:
        raise DataError(f"{end} ({n} steps) must come after {start} ({m} steps) to be averaged")
    averaged = {}
    for name, value in last["model_avg"].items():
        if value.is_floating_point():
            mean = (value.double() * n - first["model_avg"][name].double() * m) / (n - m)
            averaged[name] = mean.to(last["model"][name].dtype)
        else:
            averaged[name] = value
    return averaged


def load_averaged(exp_dir: Path, epoch: int | None, avg: int, use_averaged_model: bool) -> dict[str, Tensor]:
    """The weights selected by icefall's --epoch, --avg and --use-averaged-model; epoch None means the newest.

    Raises:
      DataError: there are fewer than avg epochs up to this one, or a checkpoint is missing or damaged.
    """
    if epoch is None:
        epochs = epoch_numbers(exp_dir)
        if not epochs:
            raise DataError(f"no epoch-N.pt in {exp_dir}; train first (stage 5)")
        epoch = epochs[-1]
    end = exp_dir / f"epoch-{epoch}.pt"
    if avg > epoch:
        raise DataError(f"--avg {avg} needs {avg} epochs up to {end.name}: take --avg {epoch} or less")
    if avg <= 1 and not use_averaged_model:
        weights: dict[str, Tensor] = load_checkpoint(end)["model"]
        return weights
    if use_averaged_model:
        start = exp_dir / f"epoch-{epoch - avg}.pt"
        if epoch - avg < 1:
            running_average: dict[str, Tensor] = load_checkpoint(end)["model_avg"]
            return running_average
        return average_with_running_average(start, end)
    return average_checkpoints([exp_dir / f"epoch-{e}.pt" for e in range(epoch - avg + 1, epoch + 1)])


def best_average(losses: Mapping[int, float]) -> int:
    """The most epochs whose average has a loss on dev of at most MARGIN above the least.

    A smaller difference is chance, and an average over more epochs is less subject to it.

    Args:
      losses: {number of last epochs: loss on dev}, not empty.
    """
    least = min(losses.values())
    return max(n for n, loss in losses.items() if loss <= least + MARGIN * abs(least))


def averages_to_compare(exp_dir: Path, epoch: int, most: int) -> list[int]:
    """Numbers of epochs up to `epoch` to average over: `most`, half of it and 1, if their checkpoints are there."""
    existing = {0, *epoch_numbers(exp_dir)}
    return [most, *(n for n in sorted({most // 2, 1} - {0, most}, reverse=True) if epoch - n in existing)]


def steps_of(path: Path) -> int:
    """The optimiser steps of a checkpoint."""
    steps: int = load_checkpoint(path)["batch_idx_train"]
    return steps


def step_numbers(exp_dir: Path) -> list[int]:
    """N of all checkpoint-N.pt, ascending."""
    return _numbers(exp_dir, "checkpoint")


def epoch_numbers(exp_dir: Path) -> list[int]:
    """N of all epoch-N.pt, ascending."""
    return _numbers(exp_dir, "epoch")


def _numbers(exp_dir: Path, kind: str) -> list[int]:
    """N of all KIND-N.pt, ascending."""
    matches = (re.fullmatch(rf"{kind}-(\d+)\.pt", p.name) for p in exp_dir.glob(f"{kind}-*.pt"))
    return sorted(int(m.group(1)) for m in matches if m)


def _sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a renamed file survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hash_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
