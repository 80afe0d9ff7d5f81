"""Batches of windows: features that do not depend on the batch, and smaller batches where memory ends."""

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
    others. Behind silence, and in whole frames, both make no difference.
    """
    return np.pad(samples, (0, _REACH + -(len(samples) + _REACH) % _HOP))


def halved_where_memory_ends(
    function: Callable[[Sequence[_Item]], list[_Result]], items: Sequence[_Item]
) -> list[_Result]:
    """The results of a batch, in smaller and smaller batches where the GPU has too little memory.

    Raises:
      DataError: the memory does not even suffice for one item.
    """
    try:
        return function(items)
    except torch.cuda.OutOfMemoryError as e:
        if len(items) == 1:
            reason = str(e).splitlines()[0]
            raise DataError(f"the GPU has too little memory for one window ({reason}): use device cpu") from e
    torch.cuda.empty_cache()
    half = len(items) // 2
    return halved_where_memory_ends(function, items[:half]) + halved_where_memory_ends(function, items[half:])
