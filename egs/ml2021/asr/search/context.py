"""What the searches share: the decoder's context and its projection.

Legend: N hypotheses, C context_size, J joiner dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml2021.asr.model.recogniser import BLANK_ID, AsrModel


def start_context(model: AsrModel, num: int, device: torch.device) -> Tensor:
    """(num, C): icefall's start, nothing and then a blank."""
    context = torch.full((num, model.decoder.context_size), BLANK_ID, device=device)
    context[:, :-1] = -1
    return context


def project(model: AsrModel, context: Tensor) -> Tensor:
    """What the joiner adds for contexts (N, C): (N, J)."""
    return model.joiner.decoder_proj(model.decoder(context, need_pad=False)).squeeze(1)
