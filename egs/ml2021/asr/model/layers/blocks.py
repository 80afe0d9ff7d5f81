"""Two linear layers with SwooshL between them, computed on a CPU in blocks of rows that fit into its caches.

The wide activations of a whole batch would go to memory and back at each operation. Here they are never stored: the
backward pass computes those of a block again. All blocks have one size, since oneDNN compiles its bf16 products for
each shape that it meets, which takes longer than the products do.

Legend: R rows, C channels, H hidden channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import SWOOSH_L
from ml2021.asr.model.layers.autograd import apply_function
from ml2021.asr.model.layers.regularisers import Push, push_of, pushed
from ml2021.asr.model.layers.swoosh_kernel import swoosh_alone, swoosh_and_derivative

BLOCK_ROWS = 512


def widen_and_narrow(rows: Tensor, layers: tuple[Tensor, Tensor, Tensor, Tensor], push: Push | None) -> Tensor:
    """linear(SwooshL(linear(rows))), with products in bf16 under autocast.

    Args:
      rows: (..., C), float32, on a CPU.
      layers: weight (H, C) and bias (H,) of the first layer, weight (C, H) and bias (C,) of the second.
      push: what a Balancer does to the gradient of the hidden channels, None: nothing.
    Returns:
      (..., C), float32.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    flat = rows.flatten(0, -2)
    with torch.autocast("cpu", enabled=False):
        if torch.is_grad_enabled() and any(t.requires_grad for t in (rows, *layers)):
            out: Tensor = apply_function(_BlockFunction, flat, *layers, push, dtype)
        else:
            out = _forward(flat, layers, dtype)
    return out.view(rows.shape)


class _BlockFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, push: Push | None, dtype: torch.dtype
    ) -> Tensor:
        ctx.save_for_backward(rows, w1, b1, w2)
        ctx.arguments = push, dtype
        return _forward(rows, (w1, b1, w2, b2), dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, w1, b1, w2 = ctx.saved_tensors
        push, dtype = ctx.arguments
        slope_and_constant = push_of(rows, lambda sample: nn.functional.linear(sample, w1, b1), push)
        first, second = w1.to(dtype), w2.to(dtype)
        bias, out_bias_grad = b1.to(dtype), grad.sum(dim=0)
        grads = [torch.zeros_like(w1), torch.zeros_like(b1), torch.zeros_like(w2)]
        inputs, outputs = _in_blocks(rows, dtype), _in_blocks(grad, dtype)
        rows_grad = torch.empty(inputs.shape, dtype=rows.dtype)
        for x, g, x_grad in zip(inputs, outputs, rows_grad):
            hidden = nn.functional.linear(x, first, bias).float()
            active, derivative = swoosh_and_derivative(hidden, *SWOOSH_L)
            grads[2] += g.t() @ active.to(dtype)
            hidden_grad = derivative.mul_(g @ second)
            if slope_and_constant is not None:
                hidden_grad = pushed(hidden_grad, hidden, *slope_and_constant)
            grads[1] += hidden_grad.sum(dim=0)
            hidden_grad = hidden_grad.to(dtype)
            grads[0] += hidden_grad.t() @ x
            x_grad.copy_(hidden_grad @ first)
        return rows_grad.flatten(0, 1)[: len(rows)], *grads, out_bias_grad, None, None


def _forward(rows: Tensor, layers: tuple[Tensor, Tensor, Tensor, Tensor], dtype: torch.dtype) -> Tensor:
    """(R, C) -> (R, C)."""
    w1, b1, w2, b2 = (t.detach().to(dtype) for t in layers)
    blocks = _in_blocks(rows, dtype)
    out = torch.empty(blocks.shape, dtype=rows.dtype)
    for x, y in zip(blocks, out):
        active = swoosh_alone(nn.functional.linear(x, w1, b1).float(), *SWOOSH_L)
        y.copy_(nn.functional.linear(active.to(dtype), w2, b2))
    return out.flatten(0, 1)[: len(rows)]


def _in_blocks(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """(R, C) -> (number of blocks, rows of a block, C), filled up with zeros."""
    size = min(len(rows), BLOCK_ROWS)
    return nn.functional.pad(rows.to(dtype), (0, 0, 0, -len(rows) % size)).view(-1, size, rows.shape[1])
