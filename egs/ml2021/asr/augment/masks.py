"""SpecAugment (Park et al., 2019), as implemented in Lhotse, also where one of its three parts is switched off.

For CR-CTC (Yao et al., 2024) there are two views of each utterance, warped alike and masked differently.

Legend: N batch, T frames, F mel bins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from lhotse.dataset import SpecAugment
from torch import Tensor

from ml2021.asr.augment.config import SpecAugmentConfig


class _SpecAugment(SpecAugment):  # type: ignore[misc]  # Lhotse has no types
    """Lhotse's, without masks over time for a batch so short that max_frames_mask_fraction leaves them no frame."""

    def __init__(self, without_frame_masks: SpecAugment, **options: Any) -> None:
        super().__init__(**options)
        self.without_frame_masks = without_frame_masks

    def forward(self, features: Tensor, supervision_segments: Tensor | None = None, *_: Any, **__: Any) -> Tensor:
        """(N, T, F) -> (N, T, F)."""
        if features.shape[1] * self.max_frames_mask_fraction < 1:
            return cast(Tensor, self.without_frame_masks(features, supervision_segments))
        return cast(Tensor, super().forward(features, supervision_segments))


def spec_augment(config: SpecAugmentConfig) -> SpecAugment | None:
    """Time warp, masks over time and masks over frequency, each if the configuration has it; None if it has none."""
    c = config
    has_frame_masks, has_feature_masks = c.has_frame_masks, c.has_feature_masks
    if not (c.time_warp_factor or has_frame_masks or has_feature_masks):
        return None
    common: dict[str, Any] = {
        "time_warp_factor": c.time_warp_factor or None,
        "num_feature_masks": c.num_feature_masks if has_feature_masks else 0,
        "features_mask_size": c.features_mask_size if has_feature_masks else 1,
    }
    # Lhotse divides by the number of masks, so "none" is one mask with a width below 1, which is 0
    without_frame_masks = SpecAugment(**common, num_frame_masks=1, frames_mask_size=1, max_frames_mask_fraction=1.0)
    if not has_frame_masks:
        return without_frame_masks
    return _SpecAugment(
        without_frame_masks,
        **common,
        num_frame_masks=c.num_frame_masks,
        frames_mask_size=c.max_frames_mask,
        max_frames_mask_fraction=c.max_frames_fraction,
    )


class TwoViews:
    """Time warp of each utterance, and then two copies of it with masks drawn for each, as in icefall's CR-CTC."""

    def __init__(self, config: SpecAugmentConfig, time_mask_ratio: float) -> None:
        """
        Args:
          config: without the larger masks over time.
          time_mask_ratio: how many times as many masks over time there are, and how many times as much they cover.
        """
        config = config.with_more_frame_masks(time_mask_ratio)
        self.warp = spec_augment(replace(config, num_frame_masks=0, num_feature_masks=0))
        self.masks = spec_augment(replace(config, time_warp_factor=0))

    def __call__(self, features: Tensor, supervision_segments: Tensor) -> Tensor:
        """(N, T, F), and (N, 3) as Lhotse has it -> (2 N, T, F): all first views, then all second views."""
        if self.warp is not None:
            features = self.warp(features, supervision_segments=supervision_segments)
        copies = features.repeat(2, 1, 1)
        return copies if self.masks is None else cast(Tensor, self.masks(copies))


def augment_batch(inputs: Tensor, lens: Tensor, augment: SpecAugment | None) -> Tensor:
    """Warp and mask each utterance of (N, T, F) within its own length."""
    if augment is None:
        return inputs
    segments = torch.stack([torch.arange(len(lens)), torch.zeros_like(lens), lens], dim=1)
    augmented: Tensor = augment.train()(inputs, supervision_segments=segments.to(torch.int32))
    return augmented
