"""Records of batches with a non-finite loss or gradient, so that a user can inspect what was in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.files import write_json


def dump_batch(exp_dir: Path, ids: Sequence[str], epoch: int, batch: int, step: int, loss: float) -> Path:
    """Write exp_dir/bad-batches/epoch-E-batch-B.json.

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
