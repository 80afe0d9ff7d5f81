"""The recursions of rnnt_lattice for a GPU: two kernels, one for the scores and one for the occupation counts.

One program of a kernel goes through the lattice of one utterance, one diagonal after another: d = s + t if regular,
else t. Every arc leads from diagonal d to d + 1. Neighbouring positions reach each other through memory. All sums are
in float64: an error of float32 in a path of 1,000 arcs would show in the fourth digit of the counts.

Legend: B batch, T frames, S symbols, P = S + 1 positions, D diagonals with arcs.

Must import on CPython 3.9 with torch 1.13.1, with or without Triton. With TRITON_INTERPRET=1 it runs on a CPU.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

HAS_TRITON = triton is not None

MOST_WARPS = 16  # of a program
THREADS_OF_A_WARP = 32


def lattice_triton(px: Tensor, py: Tensor, boundary: Tensor, regular: bool) -> tuple[Tensor, Tensor, Tensor]:
    """All utterances at once: scores (B,), counts shaped like px and py. Needs Triton."""
    px, py, boundary = px.detach().contiguous(), py.detach().contiguous(), boundary.long().contiguous()
    batch, num_positions, num_frames = py.shape
    assert px.shape[2] == num_frames + regular, f"px has {px.shape[2]} frames, py has {num_frames}"
    num_diagonals = num_frames + num_positions - 1 if regular else num_frames
    alpha = py.new_empty(batch, num_diagonals + 3, num_positions, dtype=torch.float64)
    scores = py.new_empty(batch, dtype=torch.float64)
    px_grad, py_grad = torch.zeros_like(px), torch.zeros_like(py)
    options = kernel_options(num_positions) | {"REGULAR": regular}
    with torch.cuda.device(px.device) if px.device.type == "cuda" else contextlib.nullcontext():
        _scores_kernel[(batch,)](px, py, boundary, alpha, scores, num_positions, num_frames, **options)
        _counts_kernel[(batch,)](px, py, boundary, alpha, px_grad, py_grad, num_positions, num_frames, **options)
    return scores.to(px.dtype), px_grad, py_grad


def kernel_options(num_positions: int) -> dict[str, int]:
    """How a program that has a number of positions to work on at once is compiled."""
    block = 1 << (num_positions - 1).bit_length()
    return {"BLOCK": block, "num_stages": 1, "num_warps": min(MOST_WARPS, max(1, block // THREADS_OF_A_WARP))}


if HAS_TRITON:
    _SIZES = ["num_positions", "num_frames"]  # no compilation for each size

    @triton.jit
    def log_add(a, b):  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
        larger = tl.where(a < b, b, a)
        smaller = tl.where(a < b, a, b)
        return tl.where(smaller == float("-inf"), larger, larger + tl.log(1.0 + tl.exp(smaller - larger)))

    @triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
    def _scores_kernel(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
        px, py, boundary, alpha, scores, num_positions, num_frames, REGULAR: tl.constexpr, BLOCK: tl.constexpr
    ):
        """alpha (B, D + 3, P), log-prob of reaching a position of diagonals 0 to D, and scores (B,)."""
        utterance = tl.program_id(0).to(tl.int64)
        s_end = tl.load(boundary + 4 * utterance + 2)
        t_end = tl.load(boundary + 4 * utterance + 3)
        s = tl.arange(0, BLOCK).to(tl.int64)
        exists = s <= s_end
        has_below = exists & (s >= 1)
        first = s * REGULAR  # the diagonal of frame 0 at position s; at s - 1 that of the frame before
        end = tl.where(exists, first + t_end, 0)
        end_below = tl.where(has_below, first - REGULAR + t_end, 0)
        width = num_frames + REGULAR
        num_rows = num_frames + 3 + (num_positions - 1) * REGULAR
        px += utterance * (num_positions - 1) * width + (s - 1) * width - (first - REGULAR)
        py += utterance * num_positions * num_frames + s * num_frames - first
        alpha += utterance * num_rows * num_positions + s
        reached = tl.where(s == 0, 0.0, float("-inf")).to(tl.float64)
        tl.store(alpha, reached, mask=exists)
        tl.debug_barrier()
        last = t_end + s_end * REGULAR  # diagonal of the final state
        d = last * 0
        while d < last:
            blank = tl.load(py + d, mask=(d >= first) & (d < end), other=float("-inf"))
            symbol = tl.load(px + d, mask=(d >= first - REGULAR) & (d < end_below), other=float("-inf"))
            below = tl.load(alpha - 1, mask=has_below, other=float("-inf"))
            reached = log_add(reached + blank, below + symbol)
            alpha += num_positions
            tl.store(alpha, reached, mask=exists)
            tl.debug_barrier()
            d += 1
        tl.store(scores + utterance + s * 0, reached, mask=s == s_end)

    @triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
    def _counts_kernel(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
        px, py, boundary, alpha, px_grad, py_grad, num_positions, num_frames, REGULAR: tl.constexpr, BLOCK: tl.constexpr
    ):
        """The probability that a path takes an arc, where there is one; overwrites the last two rows of alpha."""
        utterance = tl.program_id(0).to(tl.int64)
        s_end = tl.load(boundary + 4 * utterance + 2)
        t_end = tl.load(boundary + 4 * utterance + 3)
        s = tl.arange(0, BLOCK).to(tl.int64)
        exists = s <= s_end
        has_above = s < s_end
        first = s * REGULAR
        end = tl.where(exists, first + t_end, 0)
        width = num_frames + REGULAR
        num_rows = num_frames + 3 + (num_positions - 1) * REGULAR
        px_arcs = utterance * (num_positions - 1) * width + s * width - first
        py_arcs = utterance * num_positions * num_frames + s * num_frames - first
        last = t_end + s_end * REGULAR
        alpha += utterance * num_rows * num_positions
        beta = alpha + (num_rows - 2) * num_positions + s  # log-probs of reaching the end from two diagonals
        total = tl.load(alpha + last * num_positions + s_end)
        alpha += last * num_positions + s
        rest = tl.where(s == s_end, 0.0, float("-inf")).to(tl.float64)  # log-prob of reaching the final state
        tl.store(beta + last % 2 * num_positions, rest, mask=exists)
        tl.debug_barrier()
        d = last
        while d > 0:
            above = tl.load(beta + d % 2 * num_positions + 1, mask=has_above, other=float("-inf"))
            d -= 1
            alpha -= num_positions
            inside = (d >= first) & (d < end)
            blank = tl.load(py + py_arcs + d, mask=inside, other=float("-inf")) + rest
            symbol = tl.load(px + px_arcs + d, mask=inside & has_above, other=float("-inf")) + above
            rest = log_add(blank, symbol)
            tl.store(beta + d % 2 * num_positions, rest, mask=exists)
            if total != float("-inf"):
                reached = tl.load(alpha, mask=exists, other=float("-inf")) - total
                tl.store(py_grad + py_arcs + d, tl.exp(reached + blank), mask=inside)
                tl.store(px_grad + px_arcs + d, tl.exp(reached + symbol), mask=inside & has_above)
            tl.debug_barrier()
