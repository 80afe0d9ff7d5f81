"""Decoding on a CPU in parts that stay small: large activations come with fresh memory pages at each operation.

Legend: N batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def only_decodes(x: Tensor) -> bool:
    """Is x computed with on a CPU, for no gradient, and not traced? What is exported stays in one piece."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.jit.is_tracing()


def parts_by_length(lens: Sequence[int], max_frames: int) -> list[list[int]]:
    """Indices of utterances of similar length together, the shortest first, each part at most max_frames with its
    padding, or one utterance."""
    parts: list[list[int]] = []
    for i in sorted(range(len(lens)), key=lens.__getitem__):  # each is the longest of its part so far
        if parts and (len(parts[-1]) + 1) * lens[i] <= max_frames:
            parts[-1].append(i)
        else:
            parts.append([i])
    return parts
