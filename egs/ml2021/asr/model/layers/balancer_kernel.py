"""What a Balancer does to a gradient, in two passes over memory, on a CPU.

torch needs some forty operations, which cost more than the sums where a batch is small. Must import on CPython 3.9 with
torch 1.13.1.

Legend: R rows, C channels.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml2021.asr.model.layers.swoosh_kernel import ELEMENTS_PER_THREAD, FASTMATH

TINY = 1e-20


def violation_gradient_on_cpu(x: Tensor, limits: tuple[float, float, float, float]) -> tuple[Tensor, Tensor]:
    """As regularisers.violation_gradient: (R, C) float32 -> slope (C,), constant (C,)."""
    slope, constant = torch.empty(x.shape[1]), torch.empty(x.shape[1])
    _violation_gradient(_array(x), _array(slope), _array(constant), limits)
    return slope, constant


def pushed_on_cpu(grad: Tensor, x: Tensor, slope: Tensor, constant: Tensor) -> Tensor:
    """As regularisers.pushed: grad and x (R, C), float32."""
    out = torch.empty(grad.shape)
    grad_rows, rows, slopes, constants, result = (_array(t) for t in (grad, x, slope, constant, out))
    num_threads = numba.get_num_threads()
    if out.numel() > ELEMENTS_PER_THREAD and num_threads > 1:
        _push_in_threads(grad_rows, rows, slopes, constants, result, num_threads)
    else:
        _push(grad_rows, rows, slopes, constants, result)
    return out


def _array(x: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = x.detach().contiguous().numpy()
    return array


@numba.njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _violation_gradient(
    x: NDArray[np.float32],
    slope: NDArray[np.float32],
    constant: NDArray[np.float32],
    limits: tuple[float, float, float, float],
) -> None:  # pragma: no cover (compiled)
    min_mean, max_mean, min_rms, max_rms = limits
    num_rows, num_channels = x.shape
    total, total_square = np.zeros(num_channels), np.zeros(num_channels)
    for r in range(num_rows):
        for c in range(num_channels):
            value = np.float64(x[r, c])
            total[c] += value
            total_square[c] += value * value
    for c in range(num_channels):
        mean, square = total[c] / num_rows, max(total_square[c] / num_rows, TINY)
        variance = max(square - mean * mean, 1e-6 * square)
        stddev, rms = np.sqrt(variance), np.sqrt(square)
        ratio = mean / stddev
        mean_sign = (1.0 if ratio > max_mean else 0.0) - (1.0 if ratio < min_mean else 0.0)
        rms_sign = (1.0 if rms > max_rms else 0.0) - (1.0 if rms < min_rms else 0.0)
        a = rms_sign / square - mean_sign * mean / stddev**3
        middle = rms_sign * mean / square + mean_sign / stddev
        size = np.sqrt(max(a * a * variance + middle * middle, TINY))
        slope[c] = np.float32(a / size)
        constant[c] = np.float32((middle - a * mean) / size)


@numba.njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _push(
    grad: NDArray[np.float32],
    x: NDArray[np.float32],
    slope: NDArray[np.float32],
    constant: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:  # pragma: no cover (compiled)
    for r in range(grad.shape[0]):
        for c in range(grad.shape[1]):
            out[r, c] = grad[r, c] + abs(grad[r, c]) * (constant[c] + slope[c] * x[r, c])


@numba.njit(cache=True, parallel=True, fastmath=FASTMATH, error_model="numpy")
def _push_in_threads(
    grad: NDArray[np.float32],
    x: NDArray[np.float32],
    slope: NDArray[np.float32],
    constant: NDArray[np.float32],
    out: NDArray[np.float32],
    parts: Any,
) -> None:  # pragma: no cover (compiled)
    for part in numba.prange(parts):
        begin, end = len(x) * part // parts, len(x) * (part + 1) // parts
        _push(grad[begin:end], x[begin:end], slope, constant, out[begin:end])
