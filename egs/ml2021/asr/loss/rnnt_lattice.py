"""Total log-prob of a transducer's lattice and the occupation of its arcs: numba on a CPU, Triton on a GPU, or torch.

Legend: B batch, T frames, S symbols. px (B, S, T or T + 1) is the log-prob of the arc that emits symbol s at frame t,
py (B, S + 1, T) that of blank. boundary (B, 4) int64 is [0, 0, S_b, T_b].
From (s, t) with t < T_b, a symbol leads to (s + 1, t) if regular, else to (s + 1, t + 1); blank leads to (s, t + 1).

Must import on CPython 3.9 with torch 1.13.1, with or without numba and Triton.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml2021.asr.loss.rnnt_lattice_triton import HAS_TRITON, lattice_triton
from ml2021.asr.model.layers.autograd import apply_function

try:
    import numba

    # Idle OpenMP threads spin and take cores away from torch.
    numba.config.THREADING_LAYER = "workqueue"  # type: ignore[attr-defined]
except ImportError:
    numba = None  # type: ignore[assignment]


class MutualInformation(torch.autograd.Function):
    """Total log-prob (B,) of the lattice and the occupation counts of its arcs, which are its gradient."""

    @staticmethod
    def forward(ctx: Any, px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
        lattice = lattice_here if px.device.type == "cpu" else lattice_elsewhere
        results = lattice(px, py, boundary, regular)
        ctx.save_for_backward(results[1], results[2])
        ctx.mark_non_differentiable(results[1], results[2])
        return results

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None, None]:
        px_grad, py_grad = ctx.saved_tensors
        scale = grad[:, None, None]
        # without any path the counts are 0 and grad may be inf; their product must be 0
        return (
            torch.where(px_grad == 0, torch.zeros_like(px_grad), px_grad * scale),
            torch.where(py_grad == 0, torch.zeros_like(py_grad), py_grad * scale),
            None,
            None,
        )


def total_log_prob(px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Total log-prob of each lattice, (B,), differentiable; occupation counts shaped like px and py, which are not."""
    results: tuple[Tensor, Tensor, Tensor] = apply_function(MutualInformation, px, py, boundary, regular)
    return results


def lattice_here(px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (B,) and counts shaped like px and py, by what is fastest where the tensors are."""
    if px.device.type == "cpu" and numba is not None:
        return lattice_numba(px, py, boundary, regular)
    if px.device.type == "cuda" and HAS_TRITON:
        return lattice_triton(px, py, boundary, regular)
    return lattice_torch(px, py, boundary, regular)


lattice_elsewhere: Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor]] = lattice_here
if hasattr(torch.library, "custom_op"):  # an operation of its own: fake tensors and torch.compile see only its shapes
    _SCHEMA = "(Tensor px, Tensor py, Tensor boundary, bool regular) -> (Tensor, Tensor, Tensor)"
    _operation = torch.library.custom_op("ml2021::rnnt_lattice", lattice_here, mutates_args=(), schema=_SCHEMA)
    lattice_elsewhere = _operation

    @_operation.register_fake
    def _shapes(px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
        return px.new_empty(len(px)), px.new_empty(px.shape), py.new_empty(py.shape)


def lattice_numba(px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """One utterance after another, on the CPU: scores (B,), counts shaped like px and py."""
    x, y = (a.detach().to("cpu", torch.float32).contiguous().numpy() for a in (px, py))
    ends = np.ascontiguousarray(boundary[:, 2:].cpu().numpy())
    results = np.empty(len(x), np.float32), np.zeros_like(x), np.zeros_like(y)
    if (num_threads := numba.get_num_threads()) > 1:
        _lattices_in_threads(x, y, ends, 0 if regular else 1, *results, num_threads)
    else:
        _lattices(x, y, ends, 0 if regular else 1, *results, 0, len(x))
    scores, px_grad, py_grad = (torch.from_numpy(a).to(px.device, px.dtype) for a in results)
    return scores, px_grad, py_grad


def lattice_torch(px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All utterances at once, one diagonal after another: scores (B,), counts shaped like px and py.

    Every arc leads from diagonal d to d + 1, where d is s + t if regular, else t.
    """
    batch, num_positions, num_frames = py.shape
    num_symbols = boundary[:, 2:3, None]  # (B, 1, 1)
    frame_exists = torch.arange(px.shape[2], device=px.device) < boundary[:, 3:4, None]
    position = torch.arange(num_positions, device=px.device)[:, None]
    hidden = px.new_full((), -float("inf"), dtype=torch.float64)
    x = torch.where((position[:-1] < num_symbols) & frame_exists, px.detach().double(), hidden)
    y = torch.where((position <= num_symbols) & frame_exists[..., :num_frames], py.detach().double(), hidden)
    num_diagonals = num_frames + num_positions - 1 if regular else num_frames
    x, y = (_to_diagonals(a, num_diagonals, regular) for a in (x, y))  # (D, B, S), (D, B, S + 1)

    start = torch.where(position.T == 0, torch.zeros_like(hidden), hidden).expand(batch, -1)  # (B, S + 1)
    alphas = [start]
    for d in range(num_diagonals):
        moved = torch.nn.functional.pad(alphas[d][:, :-1] + x[d], (1, 0), value=-float("inf"))
        alphas.append(torch.logaddexp(alphas[d] + y[d], moved))
    alpha = torch.stack(alphas)  # (D + 1, B, S + 1)
    last = boundary[:, 3] + boundary[:, 2] if regular else boundary[:, 3]  # diagonal of the final state
    scores = alpha[last, torch.arange(batch, device=px.device), boundary[:, 2]]

    end = torch.where(boundary[:, 2:3] == position.T, torch.zeros_like(hidden), hidden)  # (B, S + 1)
    betas = [torch.where((last == num_diagonals)[:, None], end, hidden)]
    for d in range(num_diagonals - 1, -1, -1):
        moved = torch.nn.functional.pad(betas[-1][:, 1:] + x[d], (0, 1), value=-float("inf"))
        beta = torch.logaddexp(betas[-1] + y[d], moved)
        betas.append(torch.where((last == d)[:, None], torch.logaddexp(beta, end), beta))
    beta = torch.stack(betas[::-1])
    total = torch.where(scores == hidden, torch.zeros_like(scores), scores)[:, None]
    px_count = (alpha[:-1, :, :-1] + x + beta[1:, :, 1:] - total).exp()
    py_count = (alpha[:-1] + y + beta[1:] - total).exp()
    px_grad = _from_diagonals(px_count, px.shape[2], regular)
    return scores.to(px.dtype), px_grad.to(px.dtype), _from_diagonals(py_count, num_frames, regular).to(px.dtype)


def _to_diagonals(arcs: Tensor, num_diagonals: int, regular: bool) -> Tensor:
    """(B, P, W) by position and frame -> (D, B, P) by diagonal; -inf where there is no frame."""
    if not regular:
        return arcs.permute(2, 0, 1)
    batch, num_positions, width = arcs.shape
    diagonal = torch.arange(num_diagonals, device=arcs.device)
    frame = diagonal - torch.arange(num_positions, device=arcs.device)[:, None]  # (P, D)
    exists = (frame >= 0) & (frame < width)
    by_diagonal = arcs.gather(2, frame.clamp(0, width - 1).expand(batch, -1, -1))
    return by_diagonal.masked_fill(~exists, -float("inf")).permute(2, 0, 1)


def _from_diagonals(counts: Tensor, width: int, regular: bool) -> Tensor:
    """(D, B, P) by diagonal -> (B, P, W) by position and frame."""
    by_position = counts.permute(1, 2, 0)
    if not regular:
        return by_position
    batch, num_positions, num_diagonals = by_position.shape
    frame = torch.arange(width, device=counts.device)
    diagonal = frame + torch.arange(num_positions, device=counts.device)[:, None]  # (P, W)
    by_frame = by_position.gather(2, diagonal.clamp(max=num_diagonals - 1).expand(batch, -1, -1))
    return by_frame.masked_fill(diagonal >= num_diagonals, 0.0)


if numba is not None:

    @numba.njit(cache=True)
    def _log_add(a: float, b: float) -> float:  # pragma: no cover (compiled)
        if a < b:
            a, b = b, a
        if b == -np.inf:
            return a
        return a + float(np.log1p(np.exp(b - a)))

    @numba.njit(cache=True)
    def _lattices(
        px: NDArray[np.float32],
        py: NDArray[np.float32],
        ends: NDArray[np.int64],
        shift: int,
        scores: NDArray[np.float32],
        px_grad: NDArray[np.float32],
        py_grad: NDArray[np.float32],
        first: int,
        last: int,
    ) -> None:  # pragma: no cover (compiled)
        """Forward and backward recursions of utterances first to last - 1, in double precision from float32 inputs.

        ends (B, 2) is [S_b, T_b]; the frames that a symbol takes are `shift`.
        """
        for b in range(first, last):
            num_symbols, num_frames = ends[b, 0], ends[b, 1]
            alpha = np.full((num_symbols + 1, num_frames + 1), -np.inf)
            alpha[0, 0] = 0.0
            for s in range(num_symbols + 1):
                for t in range(num_frames + 1):
                    if t >= 1:
                        alpha[s, t] = _log_add(alpha[s, t], alpha[s, t - 1] + py[b, s, t - 1])
                    if s >= 1 and shift <= t < num_frames + shift:
                        alpha[s, t] = _log_add(alpha[s, t], alpha[s - 1, t - shift] + px[b, s - 1, t - shift])
            total = alpha[num_symbols, num_frames]
            scores[b] = total
            if total == -np.inf:
                continue
            beta = np.full((num_symbols + 1, num_frames + 1), -np.inf)
            beta[num_symbols, num_frames] = 0.0
            for s in range(num_symbols, -1, -1):
                for t in range(num_frames, -1, -1):
                    if t < num_frames:
                        step = py[b, s, t] + beta[s, t + 1]
                        beta[s, t] = _log_add(beta[s, t], step)
                        py_grad[b, s, t] = np.exp(alpha[s, t] + step - total)
                    if s < num_symbols and t < num_frames:
                        step = px[b, s, t] + beta[s + 1, t + shift]
                        beta[s, t] = _log_add(beta[s, t], step)
                        px_grad[b, s, t] = np.exp(alpha[s, t] + step - total)

    @numba.njit(cache=True, parallel=True)
    def _lattices_in_threads(
        px: NDArray[np.float32],
        py: NDArray[np.float32],
        ends: NDArray[np.int64],
        shift: int,
        scores: NDArray[np.float32],
        px_grad: NDArray[np.float32],
        py_grad: NDArray[np.float32],
        parts: int,
    ) -> None:  # pragma: no cover (compiled)
        for part in numba.prange(parts):
            begin, end = len(px) * part // parts, len(px) * (part + 1) // parts
            _lattices(px, py, ends, shift, scores, px_grad, py_grad, begin, end)
