"""Small batches for decoding on a CPU: large activations need fresh memory pages at each operation, which is slow.

Legend: N batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def only_decodes(x: Tensor) -> bool:
    """Whether x is on a CPU, with neither gradients nor tracing. A traced (exported) model must not split its batch."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch._C._is_tracing()


def batches_by_length(lens: Sequence[int], max_frames: int) -> list[list[int]]:
    """Indices of utterances grouped by similar length, the shortest first.

    Each batch has at most max_frames frames with its padding, or is a single utterance.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lens)), key=lens.__getitem__):  # so utterance i is the longest of its batch so far
        if batches and (len(batches[-1]) + 1) * lens[i] <= max_frames:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches
