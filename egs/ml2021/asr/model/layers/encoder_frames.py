"""The length of an encoder frame, and the mask of the frames that exist in a padded batch."""

from __future__ import annotations

import torch
from torch import Tensor

from lhotse_prep.audio.config import FRAME_SHIFT

SUBSAMPLING_FACTOR = 4  # feature frames per encoder frame
FRAME = FRAME_SHIFT * SUBSAMPLING_FACTOR  # samples per encoder frame


def frame_mask(lens: Tensor, num_frames: int) -> Tensor:
    """lens (N,) -> (N, num_frames) bool, True at frames within the utterance."""
    return torch.arange(num_frames, device=lens.device)[None] < lens[:, None]
