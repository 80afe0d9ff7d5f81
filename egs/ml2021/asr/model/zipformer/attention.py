"""Attention weights, computed once per layer, and the modules that use them (Yao et al., 2023, section 3.2).

Legend: N batch, T frames, L cached frames of left context (streaming), K = L + T frames attended to,
D model dimension, H heads, P dimension of the positional encoding, R = L + 2 T relative positions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import scaled_linear
from ml2021.asr.model.layers.regularisers import Balancer, Whiten, penalise_large
from ml2021.asr.model.layers.schedule import Schedule, ScheduledModule, chance
from ml2021.asr.model.zipformer.config import StackConfig

MASKED = -1000.0  # score of a masked frame: exp gives 0, but a row with every frame masked is not NaN


def whitening_limit(limit: float, ratio: float = 2.0) -> Schedule:
    """A limit that rises from `limit` to `ratio * limit` over the first 20,000 batches."""
    return Schedule(((0.0, limit), (20000.0, ratio * limit)), default=limit)


def relative_positions(num_frames: int, left_context: int, pos_dim: int, device: torch.device) -> Tensor:
    """Encoding of the offsets -(L + T - 1) .. T: Fourier features of an angle that saturates at large offsets.

    No pair of frames is T frames apart, but by_key needs that extra column.

    Returns:
      (R, P) float32.
    """
    offsets = torch.arange(-(left_context + num_frames - 1), num_frames + 1, device=device).float()[:, None]
    length = pos_dim**0.5
    compressed = length * offsets.sign() * ((offsets.abs() + length).log() - math.log(length))
    angles = (compressed * (2.0 * math.pi / pos_dim)).atan() * torch.arange(1, pos_dim // 2 + 1, device=device)
    table = torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)
    return torch.cat([table[:, :-1], torch.ones_like(table[:, :1])], dim=1)  # the last column acts as a bias


def by_key(scores: Tensor, num_keys: int) -> Tensor:
    """Rearrange scores by relative position into scores by key: row t takes the K columns from T - 1 - t on.

    (N, H, T, R) contiguous -> (N, H, T, K), a view.
    """
    num_frames, num_positions = scores.size(2), scores.size(3)
    flat = scores.flatten(2)[:, :, num_frames - 1 : num_frames * num_positions - 1]
    return flat.reshape(scores.size(0), scores.size(1), num_frames, num_positions - 1)[..., :num_keys]


class AttentionWeights(ScheduledModule):
    """Multi-head attention weights with relative positions."""

    def __init__(self, stack: StackConfig, pos_dim: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = stack.num_heads, stack.query_head_dim
        self.pos_head_dim = stack.pos_head_dim
        self.query_dim = self.num_heads * self.head_dim
        out_dim = 2 * self.query_dim + self.num_heads * self.pos_head_dim
        self.in_proj = scaled_linear(stack.dim, out_dim, self.head_dim**-0.25)  # ScaledAdam preserves this scale
        self.linear_pos = scaled_linear(pos_dim, self.num_heads * self.pos_head_dim, 0.05, bias=False)
        self.whiten_keys = Whiten(whitening_limit(3.0), grad_scale=0.025, num_groups=self.num_heads)
        self.balance_keys = Balancer(0.4, 0.6, 0.0, 100.0, probability=0.025)  # softmax cancels the keys' bias
        self.pos_skip_rate = Schedule(((0.0, 0.5), (4000.0, 0.0)))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """
        Args:
          x: (N, T, D).
          positions: (R, P).
          mask: True where a frame must not attend; broadcasts with (N, H, T, T).
        Returns:
          (N, H, T, T); rows sum to 1.
        """
        q, k, p = self.in_proj(x).split([self.query_dim, self.query_dim, self.num_heads * self.pos_head_dim], dim=2)
        k = self.whiten_keys(self.balance_keys(k))
        use_positions = not (self.training and chance(self.value(self.pos_skip_rate)))
        scores = self._scores(q, k, p, positions if use_positions else None)
        if self.training and chance(0.1):
            scores = penalise_large(scores, limit=25.0, penalty=1e-4)
        if mask is not None:
            scores = scores.masked_fill(mask, MASKED)
        return scores.softmax(dim=3)

    def streaming_forward(
        self, x: Tensor, positions: Tensor, cached_key: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
          x: (N, T, D).
          positions: (R, P).
          cached_key: (L, N, H * head_dim).
          mask: (N, 1, 1, K), True where there is no frame.
        Returns:
          The weights (N, H, T, K) and the next cached_key.
        """
        q, k, p = self.in_proj(x).split([self.query_dim, self.query_dim, self.num_heads * self.pos_head_dim], dim=2)
        k, cached_key = extend(k, cached_key)
        scores = self._scores(q, k, p, positions).masked_fill(mask, MASKED)
        return scores.softmax(dim=3), cached_key

    def _scores(self, q: Tensor, k: Tensor, p: Tensor, positions: Tensor | None) -> Tensor:
        """q (N, T, H * head_dim), k (N, K, the same), p (N, T, H * pos_head_dim), positions (R, P) -> (N, H, T, K)."""
        q, k, p = (split_heads(x, self.num_heads) for x in (q, k, p))
        scores = q @ k.transpose(2, 3)
        if positions is None:
            return scores
        projected = (
            self.linear_pos(positions).reshape(-1, self.num_heads, self.pos_head_dim).permute(1, 2, 0)
        )  # (H, -1, R)
        return scores + by_key(p @ projected, k.shape[2])


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(N, T, H * d) -> (N, H, T, d). Uses reshape, since with unflatten the ONNX exporter makes all sizes constant."""
    return x.reshape(x.shape[0], x.shape[1], num_heads, -1).transpose(1, 2)


def extend(x: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
    """Put cached frames (L, N, d) (icefall's layout) before x (N, T, d) -> (N, L + T, d), next cached frames."""
    extended = torch.cat([cached.transpose(0, 1), x], dim=1)
    return extended, extended[:, extended.shape[1] - cached.shape[0] :].transpose(0, 1)


class SelfAttention(nn.Module):
    """Averages values with attention weights computed elsewhere."""

    def __init__(self, stack: StackConfig) -> None:
        super().__init__()
        value_dim = stack.num_heads * stack.value_head_dim
        self.in_proj = nn.Linear(stack.dim, value_dim)
        self.out_proj = scaled_linear(value_dim, stack.dim, 0.05)
        self.whiten = Whiten(whitening_limit(7.5, ratio=3.0), grad_scale=0.01)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (N, T, D), weights (N, H, T, T) -> (N, T, D)."""
        y: Tensor = self.whiten(self._attend(self.in_proj(x), weights))
        return y

    def streaming_forward(self, x: Tensor, weights: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, T, D), weights (N, H, T, K), cached (L, N, value_dim) -> (N, T, D), next cached."""
        values, cached = extend(self.in_proj(x), cached)
        return self._attend(values, weights), cached

    def _attend(self, values: Tensor, weights: Tensor) -> Tensor:
        attended = weights @ split_heads(values, weights.shape[1])
        y: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return y


class NonlinAttention(nn.Module):
    """Gates values, averages them with the weights of one head, and gates the result again."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = 3 * dim // 4
        self.in_proj = nn.Linear(dim, 3 * hidden)
        self.out_proj = scaled_linear(hidden, dim, 0.05)
        self.balancer = Balancer(
            Schedule(((0.0, 0.25), (20000.0, 0.05))), Schedule(((0.0, 0.75), (20000.0, 0.95))), 0.5, 5.0
        )
        self.whiten1 = Whiten(whitening_limit(5.0), grad_scale=0.01)
        self.whiten2 = Whiten(whitening_limit(5.0, ratio=3.0), grad_scale=0.01)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x (N, T, D), weights (N, T, T) -> (N, T, D)."""
        s, x, y = self.in_proj(x).chunk(3, dim=2)
        gated = self.whiten1(x) * torch.tanh(self.balancer(s))
        out: Tensor = self.whiten2(self.out_proj((weights @ gated) * y))
        return out

    def streaming_forward(self, x: Tensor, weights: Tensor, cached: Tensor) -> tuple[Tensor, Tensor]:
        """x (N, T, D), weights (N, T, K), cached (1, N, L, hidden) -> (N, T, D), next cached."""
        s, x, y = self.in_proj(x).chunk(3, dim=2)
        gated = torch.cat([cached[0], x * torch.tanh(s)], dim=1)
        cached = gated[None, :, gated.shape[1] - cached.shape[2] :]
        return self.out_proj((weights @ gated) * y), cached
