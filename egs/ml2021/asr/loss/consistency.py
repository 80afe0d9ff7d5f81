"""Consistency between the CTC outputs of two views of each utterance (CR-CTC: Yao et al., 2024, arXiv 2410.05101).

Each view learns from the other's distribution in every frame. The views of a batch of N utterances are 2 N rows: all
first views, then all second views in the same order.

Legend: N utterances, T frames, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.encoder_frames import frame_mask


def consistency_losses(log_probs: Tensor, lens: Tensor) -> Tensor:
    """The divergence KL(other view || this view), summed over frames and vocabulary, of each view of each utterance.

    The distribution of the other view has no gradient here. The mean of an utterance's two values is icefall's loss.

    Args:
      log_probs: output of log_softmax, (2 N, T, V).
      lens: frames of each view, (2 N,); those of the two views of an utterance are equal. Later frames are padding.
    Returns:
      (2 N,).
    """
    first, second = log_probs.detach().chunk(2)
    others = torch.cat([second, first])
    divergence = nn.functional.kl_div(log_probs, others, reduction="none", log_target=True).sum(dim=2)
    return divergence.masked_fill(~frame_mask(lens, log_probs.shape[1]), 0.0).sum(dim=1)
