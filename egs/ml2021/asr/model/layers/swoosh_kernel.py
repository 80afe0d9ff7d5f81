"""SwooshL and SwooshR with their derivative in one pass over memory, on a CPU.

torch needs six passes, and its softplus does not use the processor's vectors. exp and log1p are polynomials here, since
numba calls a function for each element otherwise; both are within 2e-7 of the exact value (Cephes' coefficients,
https://www.netlib.org/cephes). Must import on CPython 3.9 with torch 1.13.1.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

f32 = np.float32
SLOPE = f32(0.08)
LOG2_E, LN_2_HIGH, LN_2_LOW, LN_2 = f32(1.44269504), f32(0.693359375), f32(-2.12194440e-4), f32(0.69314718)
SQRT_2 = f32(1.41421356)
LEAST_EXPONENT = f32(-80.0)  # exp of less is nothing beside 1
ELEMENTS_PER_THREAD = 65536  # fewer are not worth a thread
FASTMATH = {"nsz", "arcp", "contract", "reassoc"}  # all but the assumption that there is no NaN


def swoosh_and_derivative(x: Tensor, offset: float, constant: float) -> tuple[Tensor, Tensor]:
    """log(1 + exp(x - offset)) - 0.08 x - constant, and its derivative.

    Args:
      x: float32, on a CPU, of any shape.
    Returns:
      Both in the shape and memory format of x.
    """
    x = _dense(x)
    y, derivative = torch.empty_like(x), torch.empty_like(x)
    _swoosh(_flat(x), _flat(y), _flat(derivative), f32(offset), f32(0.08 * offset + constant))
    return y, derivative


def swoosh_alone(x: Tensor, offset: float, constant: float) -> Tensor:
    """As swoosh_and_derivative, without the derivative."""
    x = _dense(x)
    y = torch.empty_like(x)
    _swoosh(_flat(x), _flat(y), np.empty(0, np.float32), f32(offset), f32(0.08 * offset + constant))
    return y


def _dense(x: Tensor) -> Tensor:
    """x, or a copy whose elements lie in memory one after the other."""
    is_image = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return x if is_image else x.contiguous()


def _flat(x: Tensor) -> NDArray[np.float32]:
    """The elements of a dense tensor, in the order of the memory."""
    elements: NDArray[np.float32] = x.detach().as_strided((x.numel(),), (1,)).numpy()
    return elements


def _swoosh(
    x: NDArray[np.float32], y: NDArray[np.float32], derivative: NDArray[np.float32], offset: f32, constant: f32
) -> None:
    num_threads = numba.get_num_threads()
    if x.size > ELEMENTS_PER_THREAD and num_threads > 1:
        _swoosh_in_threads(x, y, derivative, offset, constant, num_threads)
    else:
        _swoosh_all(x, y, derivative, offset, constant)


@intrinsic
def _float_of_bits(typing_context: Any, bits: Any) -> Any:
    """The float32 with these bits (int32)."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@numba.njit(inline="always")
def _exp(x: Any) -> Any:  # pragma: no cover (compiled)
    """exp of -80..0: 2^k exp(r) with |r| <= log(2) / 2."""
    k = np.floor(x * LOG2_E + f32(0.5))
    r = x - k * LN_2_HIGH - k * LN_2_LOW
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    power: Any = _float_of_bits((np.int32(k) + np.int32(127)) << np.int32(23))  # type: ignore[call-arg]
    return (p * r * r + r + f32(1.0)) * power


@numba.njit(inline="always")
def _log(x: Any) -> Any:  # pragma: no cover (compiled)
    """log of 1..2."""
    is_upper = x > SQRT_2
    z = x * f32(0.5) - f32(1.0) if is_upper else x - f32(1.0)
    p = f32(7.0376836292e-2)
    p = p * z + f32(-1.1514610310e-1)
    p = p * z + f32(1.1676998740e-1)
    p = p * z + f32(-1.2420140846e-1)
    p = p * z + f32(1.4249322787e-1)
    p = p * z + f32(-1.6668057665e-1)
    p = p * z + f32(2.0000714765e-1)
    p = p * z + f32(-2.4999993993e-1)
    p = p * z + f32(3.3333331174e-1)
    return p * z * z * z - f32(0.5) * z * z + z + (LN_2 if is_upper else f32(0.0))


@numba.njit(cache=True, fastmath=FASTMATH, error_model="numpy")
def _swoosh_all(
    x: NDArray[np.float32], y: NDArray[np.float32], derivative: NDArray[np.float32], offset: f32, constant: f32
) -> None:  # pragma: no cover (compiled)
    """An empty `derivative` is not written."""
    if derivative.size == 0:
        for i in range(x.size):
            shifted = x[i] - offset
            exp = _exp(max(-abs(shifted), LEAST_EXPONENT))
            y[i] = max(shifted, f32(0.0)) + _log(f32(1.0) + exp) - SLOPE * shifted - constant
        return
    for i in range(x.size):
        shifted = x[i] - offset
        exp = _exp(max(-abs(shifted), LEAST_EXPONENT))
        total = f32(1.0) + exp
        y[i] = max(shifted, f32(0.0)) + _log(total) - SLOPE * shifted - constant
        derivative[i] = (f32(1.0) if shifted > f32(0.0) else exp) / total - SLOPE


@numba.njit(cache=True, parallel=True, fastmath=FASTMATH, error_model="numpy")
def _swoosh_in_threads(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    derivative: NDArray[np.float32],
    offset: f32,
    constant: f32,
    parts: int,
) -> None:  # pragma: no cover (compiled)
    for part in numba.prange(parts):
        begin, end = x.size * part // parts, x.size * (part + 1) // parts
        _swoosh_all(x[begin:end], y[begin:end], derivative[begin:end], offset, constant)
