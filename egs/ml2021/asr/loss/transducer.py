"""The losses of a batch: simple and pruned transducer loss, CTC losses and CR-CTC; from the encoder on, all is float32.

With two views of each utterance (CR-CTC), a batch has the rows of all first views and then those of all second views.

Legend: N rows of the batch, T input frames, T' encoder frames, F mel bins, D encoder dimension, S tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ml2021.asr.loss.consistency import consistency_losses
from ml2021.asr.loss.ctc import ctc_losses
from ml2021.asr.loss.rnnt_loss import rnnt_functions
from ml2021.asr.model.layers.precision import at_least_float32, without_autocast
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel


@dataclass(frozen=True)
class TransducerLosses:
    """Losses summed over the utterances that have a path through every lattice; the others are only counted.

    Of two views of an utterance, the mean counts; it is left out if one of them has no such path. All are scalars on
    the device of the model, which nothing waits for.
    """

    simple: Tensor
    pruned: Tensor
    ctc: Tensor
    num_left_out: Tensor  # utterances without such a path
    cr: Tensor | None = None  # the consistency of two views; None: there is one
    units: Tensor | None = None  # the CTC loss of the head on units, of the utterances with units; None: no such head


def transducer_losses(
    model: AsrModel,
    features: Tensor,
    feature_lens: Tensor,
    tokens: list[list[int]],
    two_views: bool = False,
    units: Sequence[Sequence[int]] | None = None,
) -> TransducerLosses:
    """The losses of a batch.

    Args:
      model: with a head on units if units are given.
      features: (N, T, F).
      feature_lens: (N,).
      tokens: the token ids of each row.
      two_views: see the module.
      units: the unit ids of each row; empty where the units cannot write the text. None: no loss of them.
    """
    if units is None:
        return losses_of_encoder_out(model, *model.forward_encoder(features, feature_lens), tokens, two_views)
    encoder_out, lens, below = model.forward_for_units(features, feature_lens)
    losses, good = _losses_and_good(model, encoder_out, lens, tokens, two_views)
    with without_autocast(below):
        return replace(losses, units=_units_loss(model, below, lens, units, good))


def losses_of_encoder_out(
    model: AsrModel, encoder_out: Tensor, lens: Tensor, tokens: list[list[int]], two_views: bool = False
) -> TransducerLosses:
    """The losses of a batch, from encoder_out (N, T', D), lengths (N,) and the token ids of each row.

    Computed in float32 also under autocast: after bf16, logits of 50 are off by 0.2.
    """
    return _losses_and_good(model, encoder_out, lens, tokens, two_views)[0]


def _losses_and_good(
    model: AsrModel, encoder_out: Tensor, lens: Tensor, tokens: list[list[int]], two_views: bool
) -> tuple[TransducerLosses, Tensor]:
    """The losses, and which utterances count in them, (N,) or, with two views, (N / 2,)."""
    with without_autocast(encoder_out):
        return _losses_of_encoder_out(model, at_least_float32(encoder_out), lens, tokens, two_views)


def _losses_of_encoder_out(
    model: AsrModel, encoder_out: Tensor, lens: Tensor, tokens: list[list[int]], two_views: bool
) -> tuple[TransducerLosses, Tensor]:
    symbols, token_lens = _padded(tokens, lens.device)
    log_probs = model.ctc_output(encoder_out)
    ctc = ctc_losses(log_probs, symbols, lens, token_lens)
    cr = consistency_losses(log_probs, lens) if two_views else None
    zeros = torch.zeros_like(lens)
    boundary = torch.stack([zeros, zeros, token_lens, lens], dim=1)
    simple, pruned = _transducer_losses(model, encoder_out, symbols, boundary)
    good = ~torch.isinf(simple) & ~torch.isinf(pruned) & _has_ctc_path(symbols, token_lens, lens)  # NaN is kept
    if two_views:
        good = good.unflatten(0, (2, -1)).all(dim=0)
    simple, pruned, ctc = (_total(x, good) for x in (simple, pruned, ctc))
    losses = TransducerLosses(simple, pruned, ctc, (~good).sum(), cr=None if cr is None else _total(cr, good))
    return losses, good


def _units_loss(model: AsrModel, below: Tensor, lens: Tensor, units: Sequence[Sequence[int]], good: Tensor) -> Tensor:
    """The CTC loss of the units of each row, of the good utterances that have units and frames enough for them."""
    symbols, unit_lens = _padded(units, lens.device)
    losses = ctc_losses(model.units_log_probs(below), symbols, lens, unit_lens)
    has_path = (unit_lens > 0) & _has_ctc_path(symbols, unit_lens, lens)
    if len(has_path) > len(good):
        has_path = has_path.unflatten(0, (2, -1)).all(dim=0)
    return _total(losses, good & has_path)


def _total(losses: Tensor, good: Tensor) -> Tensor:
    """The sum over the good utterances (N,) of losses, (N,), or of the mean of the losses of two views, (2 N,)."""
    if len(losses) > len(good):
        losses = losses.unflatten(0, (2, -1)).mean(dim=0)
    return torch.where(good, losses, torch.zeros_like(losses)).sum()


def _padded(tokens: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (N, S), S at least 1, and their numbers (N,), in one copy that no GPU is waited for."""
    width = max(1, *(len(ids) for ids in tokens))
    rows = torch.tensor([[*ids, *[BLANK_ID] * (width - len(ids)), len(ids)] for ids in tokens])
    if device.type == "cuda" and torch.cuda.is_available():
        rows = rows.pin_memory()
    rows = rows.to(device, non_blocking=True)
    return rows[:, :-1].contiguous(), rows[:, -1].contiguous()


def _transducer_losses(
    model: AsrModel, encoder_out: Tensor, symbols: Tensor, boundary: Tensor
) -> tuple[Tensor, Tensor]:
    """The simple and the pruned loss of each utterance, (N,) each."""
    c = model.config
    rnnt = rnnt_functions(c.loss_backend)
    start = torch.full_like(symbols[:, :1], BLANK_ID)
    decoder_out = model.decoder(torch.cat([start, symbols], dim=1))  # (N, S + 1, decoder_dim)
    simple, (px_grad, py_grad) = rnnt.smoothed(
        model.simple_lm_proj(decoder_out),
        model.simple_am_proj(encoder_out),
        symbols,
        BLANK_ID,
        boundary,
        c.lm_scale,
        c.am_scale,
        c.rnnt_type,
    )
    ranges = rnnt.prune_ranges(px_grad, py_grad, boundary, c.prune_range)
    am, lm = rnnt.prune(model.joiner.encoder_proj(encoder_out), model.joiner.decoder_proj(decoder_out), ranges)
    pruned = rnnt.pruned(model.joiner(am, lm), symbols, ranges, BLANK_ID, boundary, c.rnnt_type)
    return simple, pruned


def _has_ctc_path(symbols: Tensor, token_lens: Tensor, frame_lens: Tensor) -> Tensor:
    """(N,) bool: whether there are enough frames for the tokens and for a blank between equal neighbours."""
    pairs = torch.arange(1, symbols.shape[1], device=symbols.device) < token_lens[:, None]
    repeats = ((symbols[:, 1:] == symbols[:, :-1]) & pairs).sum(dim=1)
    return token_lens + repeats <= frame_lens
