"""Batches of windows: features that do not depend on the batch, and smaller batches where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.workflow.errors import DataError

_HOP, _REACH = 160, 200  # samples: of a frame of features, and from its middle to the last sample that it depends on
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def padded(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples with 12 to 22 ms of silence after them, in whole frames.

    transformers mirrors the end of the longest window of a batch and drops its last frame, and does neither with the
    others. With silence at the end, and in whole frames, neither makes a difference.
    """
    return np.pad(samples, (0, _REACH + -(len(samples) + _REACH) % _HOP))


def in_batches_that_fit(function: Callable[[Sequence[_Item]], list[_Result]], items: Sequence[_Item]) -> list[_Result]:
    """The results of a batch, which is halved, and halved again, while the GPU has too little memory for it.

    Raises:
      DataError: there is too little memory even for one item.
    """
    try:
        return function(items)
    except torch.cuda.OutOfMemoryError as e:
        if len(items) == 1:
            reason = next(iter(str(e).splitlines()), type(e).__name__)
            raise DataError(f"the GPU has too little memory for one window ({reason}): use device cpu") from e
    torch.cuda.empty_cache()
    half = len(items) // 2
    return in_batches_that_fit(function, items[:half]) + in_batches_that_fit(function, items[half:])
