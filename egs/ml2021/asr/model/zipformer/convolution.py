"""The convolution module of a Zipformer layer, and its chunk-wise causal depthwise convolution.

Legend: N batch, T frames, D model dimension, k kernel size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import SWOOSH_R, SwooshLinear
from ml2021.asr.model.layers.depthwise import depthwise_1d
from ml2021.asr.model.layers.regularisers import Balancer, Whiten
from ml2021.asr.model.layers.schedule import Schedule
from ml2021.asr.model.zipformer.attention import whitening_limit


class ChunkCausalDepthwiseConv1d(nn.Module):
    """The sum of a causal convolution of half the width and one within each chunk, scaled near the chunk's edges."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size, self.left = kernel_size, kernel_size // 2
        self.causal_conv = nn.Conv1d(channels, channels, (kernel_size + 1) // 2, groups=channels)
        self.chunkwise_conv = nn.Conv1d(channels, channels, kernel_size, padding=self.left, groups=channels)
        self.chunkwise_conv_scale = nn.Parameter(torch.zeros(2, channels, kernel_size))  # left edge, right edge

    def forward(self, x: Tensor, chunk_size: int) -> Tensor:
        """x (N, T, D), chunk_size in frames (-1: the whole batch is one chunk) -> (N, T, D)."""
        num_frames = x.shape[1]
        if chunk_size < 0:
            chunk_size = num_frames
        causal = depthwise_1d(nn.functional.pad(x, (0, 0, self.left, 0)), self.causal_conv, 0)
        chunks = nn.functional.pad(x, (0, 0, 0, -num_frames % chunk_size)).reshape(-1, chunk_size, x.shape[2])
        inside = depthwise_1d(chunks, self.chunkwise_conv, self.left) * self._chunk_scale(chunk_size)
        return causal + inside.reshape(x.shape[0], -1, x.shape[2])[:, :num_frames]

    def streaming_forward(self, x: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, T, D) is one chunk, cached (N, D, k // 2) -> (N, T, D), next cached."""
        extended = torch.cat([cached.transpose(1, 2), x], dim=1)
        inside = depthwise_1d(x, self.chunkwise_conv, self.left) * self._chunk_scale(x.shape[1])
        y = depthwise_1d(extended, self.causal_conv, 0) + inside
        return y, extended[:, extended.shape[1] - self.left :].transpose(1, 2)

    def _chunk_scale(self, chunk_size: int) -> Tensor:
        """(chunk_size, D): the factor of the convolution within a chunk, by frame and channel."""
        left, right = self.chunkwise_conv_scale.transpose(1, 2)
        if chunk_size < self.kernel_size:
            scale: Tensor = 1.0 + left[:chunk_size] + right[self.kernel_size - chunk_size :]
            return scale
        middle = chunk_size - self.kernel_size
        return 1.0 + nn.functional.pad(left, (0, 0, 0, middle)) + nn.functional.pad(right, (0, 0, middle, 0))


class ConvolutionModule(nn.Module):
    """Gated linear unit, depthwise convolution, SwooshR, linear."""

    def __init__(self, dim: int, kernel_size: int, causal: bool) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, 2 * dim)
        self.balancer1 = Balancer(
            Schedule(((0.0, 0.05), (8000.0, 0.025))), 1.0, 1.5, Schedule(((0.0, 5.0), (8000.0, 10.0)), default=1.0)
        )
        self.depthwise_conv = (
            ChunkCausalDepthwiseConv1d(dim, kernel_size)
            if causal
            else nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        )
        self.balancer2 = Balancer(
            Schedule(((0.0, 0.1), (8000.0, 0.05))), 1.0, Schedule(((0.0, 0.2), (20000.0, 0.5))), 10.0
        )
        self.whiten = Whiten(whitening_limit(7.5), grad_scale=0.01)
        self.out_proj = SwooshLinear(dim, dim, SWOOSH_R, dropout=0.0, initial_scale=0.05)

    def forward(self, x: Tensor, padding: Tensor, chunk_size: int) -> Tensor:
        """x (N, T, D), padding (N, T) True after the end, chunk_size in frames (-1: all) -> (N, T, D)."""
        x, conv = self._gate(x, padding), self.depthwise_conv
        if isinstance(conv, ChunkCausalDepthwiseConv1d):
            x = conv(x, chunk_size)
        else:
            x = depthwise_1d(x, conv, conv.kernel_size[0] // 2)
        y: Tensor = self.out_proj(self.whiten(self.balancer2(x)))
        return y

    def streaming_forward(self, x: Tensor, padding: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, T, D), padding (N, T), cached (N, D, k // 2) -> (N, T, D), next cached."""
        assert isinstance(self.depthwise_conv, ChunkCausalDepthwiseConv1d), "only a causal model can stream"
        x, cached = self.depthwise_conv.streaming_forward(self._gate(x, padding), cached)
        return self.out_proj(x), cached

    def _gate(self, x: Tensor, padding: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D), zero after the end."""
        values, gates = self.in_proj(x).chunk(2, dim=2)
        gated: Tensor = values * self.balancer1(gates).sigmoid()
        return gated.masked_fill(padding[..., None], 0.0)
