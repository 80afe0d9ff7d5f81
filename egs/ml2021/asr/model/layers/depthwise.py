"""Depthwise convolutions in memory layouts that are fast on a CPU.

Legend: N batch, T frames, F frequencies, D channels, k kernel size.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml2021.asr.model.layers.autograd import apply_function


def depthwise_1d(x: Tensor, conv: nn.Conv1d, padding: int) -> Tensor:
    """Convolve x (N, T, D) along its frames. On a CPU, doing it as an image with channels last is many times faster."""
    image = x.transpose(1, 2)[:, :, None]  # (N, D, 1, T)
    y = nn.functional.conv2d(image, conv.weight[:, :, None], conv.bias, padding=(0, padding), groups=conv.groups)
    return y[:, :, 0].transpose(1, 2)


def depthwise_2d(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A depthwise convolution of stride 1 over an image (N, D, T, F) stored with channels last."""
    assert conv.bias is not None and isinstance(conv.padding[0], int)
    if x.device.type == "cpu" and torch.is_grad_enabled():
        y: Tensor = apply_function(_Depthwise2dFunction, x, conv.weight, conv.bias, conv.padding)
    else:
        y = conv(x)
    return y


class _Depthwise2dFunction(torch.autograd.Function):
    """torch's convolution with a faster weight gradient: torch's takes most of the time of a training step on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return nn.functional.conv2d(x, weight, bias, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        x_grad, _, _ = torch.ops.aten.convolution_backward(
            grad,
            x,
            weight,
            [len(weight)],
            [1, 1],
            list(ctx.padding),
            [1, 1],
            False,
            [0, 0],
            len(weight),
            [ctx.needs_input_grad[0], False, False],
        )
        rows, grad_rows = (t.permute(0, 2, 3, 1).contiguous() for t in (x, grad))
        weight_grad = torch.from_numpy(weight_gradient(rows.numpy(), grad_rows.numpy(), weight.shape[2:], ctx.padding))
        return x_grad, weight_grad.permute(2, 0, 1)[:, None], grad_rows.flatten(0, 2).sum(dim=0), None


def weight_gradient(
    x: NDArray[np.float32], grad: NDArray[np.float32], kernel: tuple[int, ...], padding: tuple[int, int]
) -> NDArray[np.float32]:
    """x, grad (N, T, F, D) -> (height, width, D): sums over N, T and F of the shifted x times grad."""
    height, width = kernel
    sums = np.zeros((len(x) * height, width, x.shape[3]), np.float32)  # of each utterance and row of the kernel
    if (num_threads := numba.get_num_threads()) > 1:
        _sums_in_threads(x, grad, sums, *padding, num_threads)
    else:
        _sums(x, grad, sums, *padding, 0, len(sums))
    total: NDArray[np.float32] = sums.reshape(-1, height, width, x.shape[3]).sum(axis=0)
    return total


@numba.njit(cache=True, fastmath=True)
def _sums(
    x: NDArray[np.float32],
    grad: NDArray[np.float32],
    sums: NDArray[np.float32],
    pad_t: int,
    pad_f: int,
    first: int,
    last: int,
) -> None:  # pragma: no cover (compiled)
    """Adds to sums[first:last]."""
    num, num_frames, num_bins, channels = x.shape
    height, width = len(sums) // num, sums.shape[1]
    for job in range(first, last):
        n, i = job // height, job % height
        total = sums[job]
        for t in range(max(0, pad_t - i), min(num_frames, num_frames + pad_t - i)):
            for f in range(num_bins):
                for j in range(max(0, pad_f - f), min(width, num_bins + pad_f - f)):
                    for c in range(channels):
                        total[j, c] += x[n, t + i - pad_t, f + j - pad_f, c] * grad[n, t, f, c]


@numba.njit(cache=True, parallel=True, fastmath=True)
def _sums_in_threads(
    x: NDArray[np.float32], grad: NDArray[np.float32], sums: NDArray[np.float32], pad_t: int, pad_f: int, parts: int
) -> None:  # pragma: no cover (compiled)
    for part in numba.prange(parts):
        _sums(x, grad, sums, pad_t, pad_f, len(sums) * part // parts, len(sums) * (part + 1) // parts)
