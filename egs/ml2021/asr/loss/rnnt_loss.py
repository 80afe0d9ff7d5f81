"""Pruned RNN-T loss (Kuang et al., 2022, arXiv 2206.13236), with the arguments and results of k2's functions.

A simple joiner adds the token scores of encoder and decoder. Its loss over the whole (symbol, frame) lattice is cheap,
and its occupation counts select the s_range symbol positions per frame at which the real joiner is evaluated.

Legend: B batch, T frames, S symbols, V vocabulary, R s_range. px (B, S, T or T + 1) is the log-prob of emitting
symbol s at frame t, py (B, S + 1, T) that of blank. boundary (B, 4) int64 is [0, 0, S_b, T_b].
rnnt_type: "regular": a symbol takes no frame; "modified": it takes one; "constrained": it takes one, and the log-prob
of the blank after it is added.

Losses and gradients are computed in float32, also under autocast and from inputs in half precision.

If k2 is installed, its functions can be used instead. Must import on CPython 3.9 with torch 1.13.1, for which there are
builds of k2.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.loss.rnnt_lattice import total_log_prob
from ml2021.asr.model.layers.autograd import apply_function
from ml2021.asr.model.layers.precision import at_least_float32, without_autocast

RNNT_TYPES = ("regular", "modified", "constrained")
LOSS_BACKENDS = ("auto", "k2", "native")
_TINY = torch.finfo(torch.float32).tiny
_NUMBERS_AT_ONCE = 1 << 18  # logits processed at once on a CPU: what its cache holds
_NUMBERS_AT_ONCE_GPU = 1 << 25  # 128 MB


class RnntFunctions(NamedTuple):
    """The four steps of the loss, with the arguments of this module's functions."""

    smoothed: Callable[..., tuple[Tensor, tuple[Tensor, Tensor]]]
    prune_ranges: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    prune: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    pruned: Callable[..., Tensor]


@functools.cache
def rnnt_functions(loss_backend: str) -> RnntFunctions:
    """The steps of the loss, implemented by k2 or by this module.

    Args:
      loss_backend: k2, native (this module), or auto: k2 where it is installed.
    Raises:
      ConfigError: the backend is unknown, or it is k2 and k2 is not installed.
    """
    if loss_backend not in LOSS_BACKENDS:
        raise ConfigError(f"loss_backend must be one of {', '.join(LOSS_BACKENDS)}, got {loss_backend!r}")
    has_k2 = importlib.util.find_spec("k2") is not None
    if loss_backend == "k2" and not has_k2:
        raise ConfigError("loss_backend is k2, which is not installed: install the k2 for this torch, or use native")
    if loss_backend == "native" or not has_k2:
        return RnntFunctions(rnnt_loss_smoothed, get_rnnt_prune_ranges, do_rnnt_pruning, rnnt_loss_pruned)
    import k2

    def smoothed(
        lm: Tensor,
        am: Tensor,
        symbols: Tensor,
        blank: int,
        boundary: Tensor,
        lm_only_scale: float = 0.1,
        am_only_scale: float = 0.1,
        rnnt_type: str = "regular",
        delay_penalty: float = 0.0,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        with without_autocast(am):
            result: tuple[Tensor, tuple[Tensor, Tensor]] = k2.rnnt_loss_smoothed(
                at_least_float32(lm),
                at_least_float32(am),
                symbols,
                blank,
                lm_only_scale,
                am_only_scale,
                boundary,
                rnnt_type,
                delay_penalty,
                reduction="none",
                return_grad=True,
            )
        return result

    def pruned(
        logits: Tensor,
        symbols: Tensor,
        ranges: Tensor,
        blank: int,
        boundary: Tensor,
        rnnt_type: str = "regular",
        delay_penalty: float = 0.0,
    ) -> Tensor:
        with without_autocast(logits):
            loss: Tensor = k2.rnnt_loss_pruned(
                at_least_float32(logits), symbols, ranges, blank, boundary, rnnt_type, delay_penalty, reduction="none"
            )
        return loss

    return RnntFunctions(smoothed, k2.get_rnnt_prune_ranges, k2.do_rnnt_pruning, pruned)


def rnnt_loss_smoothed(
    lm: Tensor,
    am: Tensor,
    symbols: Tensor,
    blank: int,
    boundary: Tensor,
    lm_only_scale: float = 0.1,
    am_only_scale: float = 0.1,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The simple loss, interpolated with losses of the decoder alone and of the encoder alone.

    Args:
      lm: unnormalised token scores of the decoder, (B, S + 1, V).
      am: unnormalised token scores of the encoder, (B, T, V).
      symbols: (B, S) int64, padded with any valid id.
      blank: id of blank.
      boundary: (B, 4).
      lm_only_scale, am_only_scale: weights of the losses of the decoder alone and of the encoder alone.
      delay_penalty: scale of a reward for symbols before the middle frame and a penalty for those after it.
    Returns:
      The loss of each utterance, (B,), and (px_grad, py_grad), the occupation counts.
    """
    with without_autocast(am):
        lm, am = at_least_float32(lm), at_least_float32(am)
        px, py = _smoothed_log_probs(lm, am, symbols, blank, lm_only_scale, am_only_scale, rnnt_type)
        px = _penalise_delay(px, boundary, delay_penalty)
    scores, px_grad, py_grad = total_log_prob(px, py, boundary, rnnt_type == "regular")
    return -scores, (px_grad, py_grad)


def get_rnnt_prune_ranges(px_grad: Tensor, py_grad: Tensor, boundary: Tensor, s_range: int) -> Tensor:
    """Choose the symbol positions that the pruned loss is computed on.

    Args:
      px_grad, py_grad: occupation counts of the simple loss.
      s_range: positions per frame; at most S + 1 are used.
    Returns:
      (B, T, R) int64: R consecutive positions per frame. Their start never decreases, and increases from one frame to
      the next by at most R - 1 (regular) or 1.
    Raises:
      ValueError: s_range is 1 with rnnt_type regular.
    """
    batch, num_symbols, width = px_grad.shape
    num_frames = py_grad.shape[2]
    s_range = min(s_range, num_symbols + 1)
    if width != num_frames and s_range < 2:
        raise ValueError(f"s_range must be at least 2 for rnnt_type regular, got {s_range}")
    # occupation of a band of R rows from s on: its blanks, minus the symbols that would enter it from below
    mass = py_grad.unfold(1, s_range, 1).sum(dim=3)  # (B, S + 2 - R, T)
    entering = torch.nn.functional.pad(px_grad[:, :, :num_frames], (0, 0, 1, 0))
    begin = (mass - entering[:, : mass.shape[1]]).argmax(dim=1)  # (B, T)
    last = (boundary[:, 2] - s_range + 1).clamp(min=0)[:, None]
    frames = torch.arange(num_frames, device=begin.device)
    begin = torch.where(frames[None] < boundary[:, 3:4] - 1, begin, last)
    begin = _suffix_minimum(begin)
    rise = s_range - 1 if width != num_frames else 1  # per frame: regular, or one symbol per frame
    begin = rise * frames - _suffix_minimum(rise * frames - begin).clamp(min=0)
    return begin[..., None] + torch.arange(s_range, device=begin.device)


def do_rnnt_pruning(am: Tensor, lm: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder and decoder vectors at the chosen positions.

    Args:
      am: (B, T, J).
      lm: (B, S + 1, J).
      ranges: (B, T, R).
    Returns:
      Both (B, T, R, J).
    """
    batch, num_frames, s_range = ranges.shape
    index = ranges.reshape(batch, num_frames * s_range, 1).expand(-1, -1, lm.shape[2])
    lm_pruned = lm.gather(1, index).reshape(batch, num_frames, s_range, lm.shape[2])
    return am[:, :, None].expand(-1, -1, s_range, -1), lm_pruned


def rnnt_loss_pruned(
    logits: Tensor,
    symbols: Tensor,
    ranges: Tensor,
    blank: int,
    boundary: Tensor,
    rnnt_type: str = "regular",
    delay_penalty: float = 0.0,
) -> Tensor:
    """The loss of the real joiner on the pruned lattice.

    Args:
      logits: (B, T, R, V), unnormalised.
      symbols: (B, S) int64.
      ranges: (B, T, R) from get_rnnt_prune_ranges.
      boundary: (B, 4).
    Returns:
      The loss of each utterance, (B,).
    """
    num_symbols, num_frames = symbols.shape[1], logits.shape[1]
    padded = torch.nn.functional.pad(symbols, (0, 1), value=blank)  # position S has no symbol
    chosen = padded[:, None].expand(-1, num_frames, -1).gather(2, ranges)
    log_probs: tuple[Tensor, Tensor] = apply_function(_LogProbs, logits, chosen, blank)
    px, py = log_probs  # (B, T, R) each
    px = _scatter(px, ranges, num_symbols + 1)[:, :num_symbols]
    py = _scatter(py, ranges, num_symbols + 1)
    px = _finish_px(px, py, rnnt_type)
    px = _penalise_delay(px, boundary, delay_penalty)
    return -total_log_prob(px, py, boundary, rnnt_type == "regular")[0]


def _smoothed_log_probs(
    lm: Tensor, am: Tensor, symbols: Tensor, blank: int, lm_scale: float, am_scale: float, rnnt_type: str
) -> tuple[Tensor, Tensor]:
    """px and py of the simple joiner lm + am. Uses exp, a matrix product and log, to avoid a (B, S, T, V) tensor."""
    num_frames = am.shape[1]
    am_max, lm_max = am.amax(dim=2, keepdim=True), lm.amax(dim=2, keepdim=True)  # (B, T, 1), (B, S + 1, 1)
    am_exp, lm_exp = (am - am_max).exp(), (lm - lm_max).exp()
    both = (_products(lm_exp, am_exp) + _TINY).log() + lm_max + am_max.transpose(1, 2)
    am_symbol = am.transpose(1, 2).gather(1, symbols[..., None].expand(-1, -1, num_frames))  # (B, S, T)
    lm_symbol = lm[:, :-1].gather(2, symbols[..., None])  # (B, S, 1)
    am_blank, lm_blank = am[:, None, :, blank], lm[:, :, blank, None]  # (B, 1, T), (B, S + 1, 1)
    px = am_symbol + lm_symbol - both[:, :-1]
    py = am_blank + lm_blank - both
    if lm_scale == 0.0 and am_scale == 0.0:
        return _finish_px(px, py, rnnt_type), py
    lm_norm = lm_exp.sum(dim=2, keepdim=True).log() + lm_max
    rest = 1.0 - lm_scale - am_scale
    px = rest * px + lm_scale * (lm_symbol - lm_norm[:, :-1])
    py = rest * py + lm_scale * (lm_blank - lm_norm)
    if am_scale != 0.0:
        unigram = (lm_exp / lm_exp.sum(dim=2, keepdim=True)).mean(dim=(0, 1)) + _TINY  # (V,)
        am_norm = _products(unigram.expand(len(am), 1, -1), am_exp).log() + am_max.transpose(1, 2)  # (B, 1, T)
        log_unigram = unigram.log()
        px = px + am_scale * (am_symbol + log_unigram[symbols][..., None] - am_norm)
        py = py + am_scale * (am_blank + log_unigram[blank] - am_norm)
    return _finish_px(px, py, rnnt_type), py


def _products(x: Tensor, y: Tensor) -> Tensor:
    """x (B, M, V), y (B, N, V) -> the product of each row of x and each of y, (B, M, N)."""
    products: Tensor = apply_function(_Products, x, y)
    return products


class _Products(torch.autograd.Function):
    """x @ y^T whose gradient too is computed without autocast, wherever `backward` is called."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return torch.matmul(x, y.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y = ctx.saved_tensors
        with without_autocast(grad):
            return torch.matmul(grad, y), torch.matmul(grad.transpose(1, 2), x)


def _finish_px(px: Tensor, py: Tensor, rnnt_type: str) -> Tensor:
    """Convert px (B, S, T) to the given rnnt_type."""
    if rnnt_type == "regular":  # frame T, after the last blank, emits no symbols
        return torch.nn.functional.pad(px, (0, 1), value=-float("inf"))
    if rnnt_type == "constrained":
        return px + py[:, 1:]
    if rnnt_type != "modified":
        raise ValueError(f"rnnt_type must be one of {', '.join(RNNT_TYPES)}, got {rnnt_type}")
    return px


def _penalise_delay(px: Tensor, boundary: Tensor, delay_penalty: float) -> Tensor:
    """Add delay_penalty times the distance in frames to the middle frame: a bonus before it, a penalty after it."""
    if delay_penalty == 0.0:
        return px
    frames = torch.arange(px.shape[2], device=px.device)
    middle = (boundary[:, 3] - 1).to(px.dtype) / 2
    return px + (middle[:, None, None] - frames) * delay_penalty


def _scatter(values: Tensor, ranges: Tensor, num_positions: int) -> Tensor:
    """values (B, T, R) at positions ranges (B, T, R) -> (B, num_positions, T), -inf elsewhere."""
    full = values.new_full((*values.shape[:2], num_positions), -float("inf"))
    return full.scatter(2, ranges, values).transpose(1, 2)


def _suffix_minimum(x: Tensor) -> Tensor:
    """y[b, t] = min over t' >= t of x[b, t']."""
    return x.flip(1).cummin(dim=1).values.flip(1)


class _LogProbs(torch.autograd.Function):
    """Log-probs of chosen symbols and of blank, at least in float32.

    Works in pieces: there is no tensor of the logits' size except their gradient.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, chosen: Tensor, blank: int) -> tuple[Tensor, Tensor]:
        rows, index = logits.detach().reshape(-1, logits.shape[-1]), chosen.reshape(-1, 1)
        dtype = torch.promote_types(rows.dtype, torch.float32)
        px, py = (rows.new_empty(len(rows), 1, dtype=dtype) for _ in range(2))
        for piece in _pieces(rows):
            log_probs = rows[piece].log_softmax(dim=1, dtype=dtype)
            torch.gather(log_probs, 1, index[piece], out=px[piece])
            py[piece] = log_probs[:, blank, None]
        ctx.blank = blank
        ctx.save_for_backward(logits, chosen, rows[:, blank, None] - py)
        return px.view(chosen.shape), py.view(chosen.shape)

    @staticmethod
    def backward(ctx: Any, px_grad: Tensor, py_grad: Tensor) -> tuple[Tensor, None, None]:
        logits, chosen, normalisers = ctx.saved_tensors
        rows, index = logits.reshape(-1, logits.shape[-1]), chosen.reshape(-1, 1)
        px_grad, py_grad = px_grad.reshape(-1, 1), py_grad.reshape(-1, 1)
        minus_both = -(px_grad + py_grad)
        grad = torch.empty_like(rows)
        in_place = grad.dtype == normalisers.dtype
        for piece in _pieces(rows):
            piece_grad = torch.sub(rows[piece], normalisers[piece], out=grad[piece] if in_place else None)
            piece_grad.exp_().mul_(minus_both[piece]).scatter_add_(1, index[piece], px_grad[piece])
            piece_grad[:, ctx.blank, None] += py_grad[piece]
            if not in_place:
                grad[piece] = piece_grad
        return grad.view(logits.shape), None, None


def _pieces(rows: Tensor) -> list[slice]:
    """Slices of rows (M, V) to process one after another."""
    numbers = _NUMBERS_AT_ONCE if rows.device.type == "cpu" else _NUMBERS_AT_ONCE_GPU
    size = max(1, numbers // rows.shape[1])
    return [slice(i, i + size) for i in range(0, len(rows), size)]
