"""Frames of the encoder and of the features: numbers and masks."""

from __future__ import annotations

import torch
from torch import Tensor

from lhotse_prep.audio.fbank import FRAME_SHIFT

SUBSAMPLING_FACTOR = 4
FRAME = FRAME_SHIFT * SUBSAMPLING_FACTOR  # samples an encoder frame


def frame_mask(lens: Tensor, num_frames: int) -> Tensor:
    """(N, num_frames) bool, True at frames that exist."""
    return torch.arange(num_frames, device=lens.device)[None] < lens[:, None]
