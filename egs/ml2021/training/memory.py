"""Running out of memory: tried on the largest batches before training, and reported in terms of the batch size."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from lhotse_prep.workflow.errors import DataError
from ml2021.training.task import Task

logger = logging.getLogger(__name__)


def give_back_freed_memory() -> None:
    """Return freed heap pages to the system (glibc only; a no-op with other C libraries).

    Large tensors that are freed between small ones that stay (rows of a language model) leave holes in the heap: a
    process that decodes for hours would keep growing although it uses no more memory.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def memory_errors(task: Task, batch: Any) -> Iterator[None]:
    """Turn torch's out-of-memory errors (GPU or CPU) into a DataError that says which batch size to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as e:
        if not isinstance(e, torch.OutOfMemoryError) and "can't allocate memory" not in str(e):
            raise
        ids = list(task.batch_ids(batch))
        examples = f" with {', '.join(ids[:3])}{' ...' if len(ids) > 3 else ''}" if ids else ""
        raise DataError(f"out of memory on a batch of {len(ids)} utterances{examples}; lower {task.batch_limit}") from e


def try_worst_batches(task: Task, model: nn.Module, forward_backward: Callable[[Any], None]) -> None:
    """Run the task's largest batches once, leaving the model unchanged.

    Args:
      task: gives the batches, as worst_batches(); they are loaded as batches of epoch 1.
      model: its gradients are dropped and its buffers restored.
      forward_backward: computes the loss of a batch and its gradients.
    Raises:
      DataError: memory ran out; the message says which batch size to lower.
    """
    started, count = time.monotonic(), 0
    buffers = [(b, b.clone()) for b in model.buffers()]
    model.train()
    for batch in task.load_train(enumerate(task.worst_batches()), 1):
        forward_backward(batch)
        model.zero_grad(set_to_none=True)
        count += 1
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    if count:
        peak = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if torch.cuda.is_available() else ""
        logger.info("the %d largest batches fit into memory%s (%.1f s)", count, peak, time.monotonic() - started)
