"""The decoder's context and its projection, as all searches use them.

Legend: N hypotheses, C context_size, J joiner dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID, AsrModel


def start_context(model: AsrModel, num: int, device: torch.device) -> Tensor:
    """The context of empty hypotheses (num, C), as in icefall: a blank, with -1 (no token) before it."""
    context = torch.full((num, model.decoder.context_size), BLANK_ID, device=device)
    context[:, :-1] = -1
    return context


def project(model: AsrModel, context: Tensor) -> Tensor:
    """The decoder's input to the joiner: contexts (N, C) -> (N, J)."""
    projected: Tensor = model.joiner.decoder_proj(model.decoder(context, need_pad=False))
    return projected.squeeze(1)
