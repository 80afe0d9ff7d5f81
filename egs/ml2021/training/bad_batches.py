"""Batches whose loss was not finite, written down so that a user can look at what was in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.files import write_json


def dump_batch(exp_dir: Path, ids: Sequence[str], epoch: int, batch: int, step: int, loss: float) -> Path:
    """Write exp_dir/bad-batches/epoch-E-batch-B.json.

    Args:
      ids: what was in the batch, such as ids of cuts.
      batch: its number in the epoch, over all processes.
      step: optimiser steps done before it.
      loss: what came out; it may be finite where the gradient is not.
    Returns:
      The file.
    """
    path = exp_dir / "bad-batches" / f"epoch-{epoch}-batch-{batch}.json"
    write_json(path, {"epoch": epoch, "batch": batch, "step": step, "loss": str(loss), "ids": list(ids)})
    return path
