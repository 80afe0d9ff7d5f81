"""The recursions of CTC for a GPU: two kernels, one for the scores and one for the occupation counts.

One program of a kernel goes through the frames of one utterance. After each frame a path is at a position, the number
of tokens so far, and the frame was one of blank or of the last token. Sums are in float64, as in rnnt_lattice_triton.

Legend: N batch, T frames, S tokens, P = S + 1 positions, V vocabulary.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from ml2021.asr.loss.rnnt_lattice_triton import HAS_TRITON, kernel_options

if HAS_TRITON:
    import triton
    import triton.language as tl

    from ml2021.asr.loss.rnnt_lattice_triton import log_add


def ctc_triton(log_probs: Tensor, symbols: Tensor, lens: Tensor, symbol_lens: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (N,) and their gradient (N, T, V); both are 0 for an utterance without a path. Needs Triton.

    Blank has id 0.
    """
    log_probs, symbols = log_probs.detach().contiguous(), symbols.long().contiguous()
    ends = torch.stack([lens, symbol_lens], dim=1).long()
    batch, num_frames, vocab_size = log_probs.shape
    num_positions = symbols.shape[1] + 1
    alpha = log_probs.new_empty(batch, num_frames + 2, 2, num_positions, dtype=torch.float64)
    scores = log_probs.new_empty(batch, dtype=torch.float64)
    counts = log_probs.new_zeros(batch, num_frames, num_positions - 1)
    sizes, options = (num_frames, vocab_size, num_positions), kernel_options(num_positions)
    with torch.cuda.device(log_probs.device) if log_probs.device.type == "cuda" else contextlib.nullcontext():
        _ctc_scores_kernel[(batch,)](log_probs, symbols, ends, alpha, scores, *sizes, **options)
        _ctc_counts_kernel[(batch,)](log_probs, symbols, ends, alpha, scores, counts, *sizes, **options)
    has_path = scores != -float("inf")
    losses = torch.where(has_path, -scores, torch.zeros_like(scores)).to(log_probs.dtype)
    is_frame = torch.arange(num_frames, device=lens.device) < lens[:, None]
    gradient = torch.zeros_like(log_probs)
    gradient[:, :, 0] = counts.sum(dim=2) - (is_frame & has_path[:, None]).to(counts.dtype)  # a frame has one unit
    return losses, gradient.scatter_add_(2, symbols[:, None].expand_as(counts), -counts)


if HAS_TRITON:
    _SIZES = ["num_frames", "vocab_size", "num_positions"]  # no compilation for each size

    @triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
    def _ctc_scores_kernel(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
        log_probs, symbols, ends, alpha, scores, num_frames, vocab_size, num_positions, BLOCK: tl.constexpr
    ):
        """alpha (N, T + 2, 2, P): log-probs before frames 0 to T, after blank and after a token; scores (N,)."""
        utterance = tl.program_id(0).to(tl.int64)
        t_end = tl.load(ends + 2 * utterance)
        s_end = tl.load(ends + 2 * utterance + 1)
        s = tl.arange(0, BLOCK).to(tl.int64)
        exists = s <= s_end
        has_symbol = exists & (s >= 1)
        symbols += utterance * (num_positions - 1) + s
        symbol = tl.load(symbols - 1, mask=has_symbol, other=-1)
        before = tl.load(symbols - 2, mask=has_symbol & (s >= 2), other=-1)
        skips_blank = has_symbol & (s >= 2) & (symbol != before)
        log_probs += utterance * num_frames * vocab_size
        alpha += utterance * (num_frames + 2) * 2 * num_positions + s
        in_blank = tl.where(s == 0, 0.0, float("-inf")).to(tl.float64)
        in_symbol = tl.where(s < 0, 0.0, float("-inf")).to(tl.float64)
        tl.store(alpha, in_blank, mask=exists)
        tl.store(alpha + num_positions, in_symbol, mask=exists)
        tl.debug_barrier()
        t = t_end * 0
        while t < t_end:
            below = tl.load(alpha - 1, mask=has_symbol, other=float("-inf"))
            below_skipping = tl.load(alpha + num_positions - 1, mask=skips_blank, other=float("-inf"))
            entered = log_add(log_add(in_symbol, below), below_skipping)
            in_blank = log_add(in_blank, in_symbol) + tl.load(log_probs)
            in_symbol = entered + tl.load(log_probs + symbol, mask=has_symbol, other=float("-inf"))
            alpha += 2 * num_positions
            log_probs += vocab_size
            tl.store(alpha, in_blank, mask=exists)
            tl.store(alpha + num_positions, in_symbol, mask=exists)
            tl.debug_barrier()
            t += 1
        tl.store(scores + utterance + s * 0, log_add(in_blank, in_symbol), mask=s == s_end)

    @triton.jit(do_not_specialize=_SIZES)  # type: ignore[untyped-decorator]
    def _ctc_counts_kernel(  # type: ignore[no-untyped-def]  # pragma: no cover (compiled)
        log_probs, symbols, ends, alpha, scores, counts, num_frames, vocab_size, num_positions, BLOCK: tl.constexpr
    ):
        """counts (N, T, S): the probability that a frame is one of a token; overwrites alpha's last row."""
        utterance = tl.program_id(0).to(tl.int64)
        t_end = tl.load(ends + 2 * utterance)
        s_end = tl.load(ends + 2 * utterance + 1)
        total = tl.load(scores + utterance)
        s = tl.arange(0, BLOCK).to(tl.int64)
        exists = s <= s_end
        has_symbol = exists & (s >= 1)
        has_next = s < s_end
        symbols += utterance * (num_positions - 1) + s
        symbol = tl.load(symbols - 1, mask=has_symbol, other=-1)
        following = tl.load(symbols, mask=has_next, other=-1)
        skips_blank = has_symbol & has_next & (symbol != following)
        log_probs += (utterance * num_frames + t_end) * vocab_size
        alpha += utterance * (num_frames + 2) * 2 * num_positions + s
        beta = alpha + (num_frames + 1) * 2 * num_positions  # log-probs of reaching the end from tokens of two frames
        alpha += (2 * t_end + 1) * num_positions
        counts += (utterance * num_frames + t_end) * (num_positions - 1) + s - 1
        rest_of_blank = tl.where(s == s_end, 0.0, float("-inf")).to(tl.float64)  # log-prob of reaching the end
        rest_of_symbol = rest_of_blank
        tl.store(beta + t_end % 2 * num_positions, rest_of_symbol, mask=exists)
        tl.debug_barrier()
        t = t_end
        while t > 0:
            rest_of_next = tl.load(beta + t % 2 * num_positions + 1, mask=has_next, other=float("-inf"))
            counts -= num_positions - 1
            if total != float("-inf"):
                reached = tl.load(alpha, mask=has_symbol, other=float("-inf")) - total
                tl.store(counts, tl.exp(reached + rest_of_symbol), mask=has_symbol)
            t -= 1
            alpha -= 2 * num_positions
            log_probs -= vocab_size
            blank = tl.load(log_probs) + rest_of_blank
            again = tl.load(log_probs + symbol, mask=has_symbol, other=float("-inf")) + rest_of_symbol
            next_one = tl.load(log_probs + following, mask=has_next, other=float("-inf")) + rest_of_next
            rest_of_blank = log_add(blank, next_one)
            rest_of_symbol = log_add(log_add(blank, again), tl.where(skips_blank, next_one, float("-inf")))
            tl.store(beta + t % 2 * num_positions, rest_of_symbol, mask=exists)
            tl.debug_barrier()
