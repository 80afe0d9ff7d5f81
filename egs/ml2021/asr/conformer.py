"""Conformer encoder (Gulati et al., 2020) with rotary positions (Su et al., 2021) and layer norm in the convolution.

Legend: N batch, T frames, D model dimension, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.subsampling import frame_mask
from ml2021.config import EncoderConfig


class ConformerEncoder(nn.Module):
    """Embedded features to encoder_out, at the same frame rate."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.head_dim = config.dim // config.num_heads
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(config.num_layers))

    def forward(self, x: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, D), (N,) -> encoder_out (N, T, D), encoder_out_lens (N,)."""
        mask = frame_mask(lens, x.shape[1])
        rotation = rotary_table(x.shape[1], self.head_dim, x)
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, mask, rotation)
        return x, lens


class ConformerLayer(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, each residual."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.feedforward1 = FeedForward(config)
        self.attention = SelfAttention(config)
        self.convolution = Convolution(config)
        self.feedforward2 = FeedForward(config)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor, mask: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """x (N, T, D), mask (N, T) True at frames that exist -> (N, T, D)."""
        x = x + 0.5 * self.feedforward1(x)
        x = x + self.attention(x, mask, rotation)
        x = x + self.convolution(x, mask)
        x = x + 0.5 * self.feedforward2(x)
        return self.norm(x)


class FeedForward(nn.Sequential):
    """Norm, widen, SiLU, narrow."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(
            nn.LayerNorm(config.dim),
            nn.Linear(config.dim, config.feedforward_dim),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.feedforward_dim, config.dim),
            nn.Dropout(config.dropout),
        )


class SelfAttention(nn.Module):
    """Multi-head attention over the whole utterance, positions by rotation of queries and keys."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.num_heads, self.head_dim = config.num_heads, config.dim // config.num_heads
        self.norm = nn.LayerNorm(config.dim)
        self.in_proj = nn.Linear(config.dim, 3 * config.dim)
        self.out_proj = nn.Linear(config.dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """x (N, T, D), mask (N, T) -> (N, T, D)."""
        batch, frames, dim = x.shape
        qkv = self.in_proj(self.norm(x)).reshape(batch, frames, 3, self.num_heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, H, T, D / H)
        q, k = rotate(q, rotation), rotate(k, rotation)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        return self.dropout(self.out_proj(attended.transpose(1, 2).reshape(batch, frames, dim)))


class Convolution(nn.Module):
    """Gated pointwise, depthwise over time, pointwise."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, config.cnn_kernel, padding=config.cnn_kernel // 2, groups=dim)
        self.depthwise_norm = nn.LayerNorm(dim)
        self.out_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (N, T, D), mask (N, T) -> (N, T, D)."""
        x = nn.functional.glu(self.gate(self.norm(x)), dim=2) * mask[..., None]
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.dropout(self.out_proj(nn.functional.silu(self.depthwise_norm(x))))


def rotary_table(num_frames: int, head_dim: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotation at each frame, (T, head_dim / 2) each."""
    frequencies = 10000 ** (-torch.arange(0, head_dim, 2, device=like.device, dtype=torch.float32) / head_dim)
    angles = torch.arange(num_frames, device=like.device, dtype=torch.float32)[:, None] * frequencies
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate the halves of x (N, H, T, D / H) as pairs."""
    cos, sin = rotation
    first, second = x.chunk(2, dim=3)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=3)
