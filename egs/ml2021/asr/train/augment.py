"""SpecAugment (Park et al., 2019), as implemented in Lhotse."""

from __future__ import annotations

import torch
from lhotse.dataset import SpecAugment
from torch import Tensor

from ml2021.asr.train.config import SpecAugmentConfig


def spec_augment(config: SpecAugmentConfig) -> SpecAugment | None:
    """Time warp and masks; None if the configuration has no masks of one kind."""
    if config.num_frame_masks == 0 or config.num_feature_masks == 0:
        return None
    return SpecAugment(
        time_warp_factor=config.time_warp_factor or None,
        num_feature_masks=config.num_feature_masks,
        features_mask_size=config.features_mask_size,
        num_frame_masks=config.num_frame_masks,
        frames_mask_size=config.max_frames_mask,
        max_frames_mask_fraction=config.max_frames_fraction,
    )


def augment_batch(inputs: Tensor, lens: Tensor, augment: SpecAugment | None) -> Tensor:
    """Warp and mask each utterance of (N, T, F) within its own length."""
    if augment is None:
        return inputs
    segments = torch.stack([torch.arange(len(lens)), torch.zeros_like(lens), lens], dim=1)
    augmented: Tensor = augment.train()(inputs, supervision_segments=segments.to(torch.int32))
    return augmented
