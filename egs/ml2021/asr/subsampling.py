"""Features at 100 frames a second -> embeddings at 25: two strided convolutions over time and frequency.

Legend: N batch, T input frames, F mel bins, D model dimension.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SUBSAMPLING_FACTOR = 4


def subsampled_lens(feature_lens: Tensor) -> Tensor:
    """Output frames of each utterance: ceil(ceil(T / 2) / 2)."""
    return ((feature_lens + 1) // 2 + 1) // 2


def frame_mask(lens: Tensor, num_frames: int) -> Tensor:
    """(N, num_frames) bool, True at frames that exist."""
    return torch.arange(num_frames, device=lens.device)[None] < lens[:, None]


class ConvSubsampling(nn.Module):
    """Normalised features through two 3x3 convolutions of stride 2 and a projection. Padding changes no result."""

    def __init__(self, num_features: int, dim: int, channels: int = 32) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(num_features, affine=False, momentum=0.01)
        self.conv1 = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.project = nn.Linear(channels * ((num_features + 3) // 4), dim)
        self.out_norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor, feature_lens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, F) log-mels and (N,) lengths -> (N, T', D), (N,)."""
        mask = frame_mask(feature_lens, features.shape[1])
        if self.training:  # statistics of the frames that exist
            self.norm(features[mask])
        mean, var = self.norm.running_mean, self.norm.running_var
        assert mean is not None and var is not None
        x = (features - mean) * (var + self.norm.eps).rsqrt() * mask[..., None]
        half_lens = (feature_lens + 1) // 2
        x = nn.functional.silu(self.conv1(x[:, None]))
        x = x * frame_mask(half_lens, x.shape[2])[:, None, :, None]
        x = nn.functional.silu(self.conv2(x))  # (N, C, T', F / 4)
        x = self.out_norm(self.project(x.transpose(1, 2).flatten(2)))
        return x, subsampled_lens(feature_lens)
