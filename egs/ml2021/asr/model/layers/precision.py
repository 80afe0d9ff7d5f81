"""Parts that are computed in float32 whatever the precision of the step.

Must import on CPython 3.9 with torch 1.13.1.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def without_autocast(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A context without autocast on the device of x: there, a product of float32 matrices is a float32 matrix."""
    if x.device.type not in ("cpu", "cuda"):
        return contextlib.nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def float32_on_cpu(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """A context for layers that use autocast's precision on a GPU only.

    On a CPU, oneDNN compiles products and convolutions in bf16 for each shape that it meets. Utterances have many
    lengths, so that takes longer than what it saves, but for layers that work on blocks of one size (layers/blocks.py).
    """
    return without_autocast(x) if x.device.type == "cpu" else contextlib.nullcontext()


def at_least_float32(x: Tensor) -> Tensor:
    """x in float32 if it has fewer bits, else x."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
