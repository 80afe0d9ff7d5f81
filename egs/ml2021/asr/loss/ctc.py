"""CTC loss (Graves et al., 2006): torch's, and on a GPU with Triton our kernels.

torch's loss waits for the GPU to read the lengths and to copy them back. Ours takes them where they are.

Legend: N batch, T frames, S tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ml2021.asr.loss.ctc_triton import ctc_triton
from ml2021.asr.loss.rnnt_lattice_triton import HAS_TRITON
from ml2021.asr.model.layers.autograd import apply_function
from ml2021.asr.model.layers.precision import at_least_float32

BLANK_ID = 0


def ctc_losses(log_probs: Tensor, symbols: Tensor, lens: Tensor, symbol_lens: Tensor) -> Tensor:
    """The CTC loss of each utterance; 0, without a gradient, where there are too few frames.

    Args:
      log_probs: output of log_softmax, (N, T, V); computed with in float32 if it has fewer bits.
      symbols: token ids, (N, S), padded with any.
      lens: frames of each utterance, (N,).
      symbol_lens: tokens of each utterance, (N,).
    Returns:
      (N,).
    """
    log_probs = at_least_float32(log_probs)
    if takes_kernels(log_probs):
        losses: Tensor = apply_function(_Ctc, log_probs, symbols, lens, symbol_lens)
        return losses
    return nn.functional.ctc_loss(
        log_probs.transpose(0, 1), symbols, lens, symbol_lens, BLANK_ID, reduction="none", zero_infinity=True
    )


def takes_kernels(x: Tensor) -> bool:
    """Whether our kernels can compute with x."""
    return x.device.type == "cuda" and HAS_TRITON


class _Ctc(torch.autograd.Function):
    """The losses and their gradient, in one go; right for log-probs of log_softmax only, whose gradient follows it."""

    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, symbols: Tensor, lens: Tensor, symbol_lens: Tensor) -> Tensor:
        losses, gradient = ctc_elsewhere(log_probs, symbols, lens, symbol_lens)
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad[:, None, None], None, None, None


def ctc_here(log_probs: Tensor, symbols: Tensor, lens: Tensor, symbol_lens: Tensor) -> tuple[Tensor, Tensor]:
    """The losses (N,) and their gradient (N, T, V) up to a number per frame, which that of log_softmax takes off."""
    if log_probs.device.type == "cuda":
        return ctc_triton(log_probs, symbols, lens, symbol_lens)
    by_frame = log_probs.transpose(0, 1)
    arguments = symbols, lens, symbol_lens
    losses, alpha = torch._ctc_loss(by_frame, *arguments, BLANK_ID, True)
    gradient = torch.ops.aten._ctc_loss_backward(
        torch.ones_like(losses), by_frame, *arguments, losses, alpha, BLANK_ID, True
    )
    return torch.where(torch.isinf(losses), torch.zeros_like(losses), losses), gradient.transpose(0, 1).contiguous()


ctc_elsewhere = ctc_here
if hasattr(torch.library, "custom_op"):  # an operation of its own: fake tensors and torch.compile see only its shapes
    _operation = torch.library.custom_op(
        "ml2021::ctc",
        ctc_here,
        mutates_args=(),
        schema="(Tensor log_probs, Tensor symbols, Tensor lens, Tensor symbol_lens) -> (Tensor, Tensor)",
    )
    ctc_elsewhere = _operation

    @_operation.register_fake
    def _shapes(log_probs: Tensor, symbols: Tensor, lens: Tensor, symbol_lens: Tensor) -> tuple[Tensor, Tensor]:
        return log_probs.new_empty(len(log_probs)), log_probs.new_empty(log_probs.shape)
