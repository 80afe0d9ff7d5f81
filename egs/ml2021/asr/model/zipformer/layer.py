"""One Zipformer layer: shared attention weights, three feed-forwards, three attentions, two convolutions, bypasses.

Legend: N batch, T frames, D model dimension, H heads, L frames of left context (streaming), K = L + T.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import SWOOSH_L, BiasNorm, SwooshLinear, drop_utterances, limit_parameter
from ml2021.asr.model.layers.regularisers import Balancer, Whiten
from ml2021.asr.model.layers.schedule import FloatLike, Schedule, ScheduledModule, chance
from ml2021.asr.model.zipformer.attention import AttentionWeights, NonlinAttention, SelfAttention, whitening_limit
from ml2021.asr.model.zipformer.config import StackConfig
from ml2021.asr.model.zipformer.convolution import ConvolutionModule

STATES_PER_LAYER = 6
ADAPTERS = ("post_sa_adapter", "mid_adapter", "post_conv_adapter", "adapter")  # the places of adapters in a layer


class Bypass(ScheduledModule):
    """A learned mixture, per channel, of a module's input and output. In training, some utterances skip the module."""

    scale_min = Schedule(((0.0, 0.9), (20000.0, 0.2)))
    scale_max = 1.0

    def __init__(self, dim: int, skip_rate: FloatLike = 0.0) -> None:
        super().__init__()
        self.bypass_scale = nn.Parameter(torch.full((dim,), 0.5))
        self.skip_rate = skip_rate

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """(N, T, D), (N, T, D) -> before + (after - before) * bypass_scale."""
        scale: Tensor = self.bypass_scale
        if self.training:
            scale = limit_parameter(scale, self.value(self.scale_min), self.scale_max)
            scale = drop_utterances(scale.expand(before.shape[0], 1, -1), self.value(self.skip_rate))
        return torch.lerp(before, after, scale.to(before.dtype))


class Feedforward(nn.Module):
    """Linear (widen), SwooshL, dropout, linear (narrow)."""

    def __init__(self, dim: int, hidden_dim: int, dropout: FloatLike) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, hidden_dim)
        self.hidden_balancer = Balancer(0.3, 1.0, 0.75, 5.0)
        self.out_proj = SwooshLinear(hidden_dim, dim, SWOOSH_L, dropout, initial_scale=0.1)
        self.out_whiten = Whiten(whitening_limit(7.5), grad_scale=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        y: Tensor = self.out_whiten(self.out_proj(self.hidden_balancer(self.in_proj(x))))
        return y


class ZipformerLayer(ScheduledModule):
    """One layer of a stack; skip_rate is the rate at which utterances skip the whole layer in training."""

    attention_skip_rate = Schedule(((0.0, 0.2), (4000.0, 0.05), (16000.0, 0.0)))
    conv_skip_rate = attention_skip_rate
    const_attention_rate = Schedule(((0.0, 0.25), (4000.0, 0.025)))
    feedforward_skip_rate = Schedule(((0.0, 0.1), (4000.0, 0.01), (50000.0, 0.0)))

    def __init__(
        self, stack: StackConfig, pos_dim: int, dropout: FloatLike, skip_rate: FloatLike, causal: bool
    ) -> None:
        super().__init__()
        dim, hidden = stack.dim, stack.feedforward_dim
        self.bypass_scale = nn.Parameter(torch.full((dim,), 0.5))  # unused, but icefall's checkpoints have it
        self.bypass = Bypass(dim, skip_rate)
        self.bypass_mid = Bypass(dim)
        self.self_attn_weights = AttentionWeights(stack, pos_dim)
        self.self_attn1 = SelfAttention(stack)
        self.self_attn2 = SelfAttention(stack)
        self.feed_forward1 = Feedforward(dim, hidden * 3 // 4, dropout)
        self.feed_forward2 = Feedforward(dim, hidden, dropout)
        self.feed_forward3 = Feedforward(dim, hidden * 5 // 4, dropout)
        self.nonlin_attention = NonlinAttention(dim)
        self.conv_module1 = ConvolutionModule(dim, stack.cnn_kernel, causal)
        self.conv_module2 = ConvolutionModule(dim, stack.cnn_kernel, causal)
        self.norm = BiasNorm(dim)
        self.balancer_na = Balancer(0.3, 0.7, Schedule(((0.0, 0.004), (4000.0, 0.02))), probability=0.05)
        self.balancer_ff2 = Balancer(0.3, 0.7, Schedule(((0.0, 0.0), (4000.0, 0.1))), 2.0, probability=0.05)
        self.balancer_ff3 = Balancer(0.3, 0.7, Schedule(((0.0, 0.0), (4000.0, 0.2))), 4.0, probability=0.05)
        self.balancer1 = Balancer(0.45, 0.55, 0.2, 4.0)
        self.balancer2 = Balancer(0.45, 0.55, 0.1, 4.0)
        self.whiten = Whiten(whitening_limit(4.0, ratio=3.0), grad_scale=0.01)
        self.post_sa_adapter: nn.Module | None = None  # add_adapters sets all ADAPTERS
        self.mid_adapter: nn.Module | None = None
        self.post_conv_adapter: nn.Module | None = None
        self.adapter: nn.Module | None = None

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None, padding: Tensor, chunk_size: int) -> Tensor:
        """
        Args:
          x: (N, T, D).
          positions: (2 T, P), encoded relative positions.
          mask: True where a frame must not attend; broadcasts with (N, H, T, T).
          padding: (N, T), True after the end.
          chunk_size: frames per chunk, -1: no chunks.
        Returns:
          (N, T, D).
        """
        before = x
        weights = self.self_attn_weights(x, positions, mask)
        attention_mask = self._utterance_mask(x)
        x = x + self.feed_forward1(x)
        first = weights[:, 0]
        if self.training and chance(self.value(self.const_attention_rate)):  # a plain average over the visible frames
            first = (first > 0.0).to(first.dtype)
            first = first / first.sum(dim=2, keepdim=True)
        x = x + self.balancer_na(self.nonlin_attention(x, first)) * attention_mask
        x = _adapted(x + self.self_attn1(x, weights) * attention_mask, self.post_sa_adapter)
        x = x + self._skip(self.conv_module1(x, padding, chunk_size), self.conv_skip_rate)
        x = x + self._skip(self.balancer_ff2(self.feed_forward2(x)), self.feedforward_skip_rate)
        x = _adapted(self.bypass_mid(before, x), self.mid_adapter)
        x = x + self.self_attn2(x, weights) * attention_mask
        x = x + self._skip(self.conv_module2(x, padding, chunk_size), self.conv_skip_rate)
        x = _adapted(x, self.post_conv_adapter)
        x = x + self._skip(self.balancer_ff3(self.feed_forward3(x)), self.feedforward_skip_rate)
        x = self.bypass(before, self.norm(self.balancer1(x)))
        return _adapted(self.whiten(self.balancer2(x)), self.adapter)

    def streaming_forward(
        self, x: Tensor, positions: Tensor, mask: Tensor, states: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """
        Args:
          x: (N, T, D), one chunk.
          positions: (L + 2 T, P).
          mask: (N, K), True where there is no frame.
          states: key (L, N, -), nonlin_attn (1, N, L, -), val1, val2 (L, N, -), conv1, conv2 (N, D, k // 2).
        Returns:
          (N, T, D), the next states.
        """
        key, nonlin, val1, val2, conv1, conv2 = states
        before, padding = x, mask[:, key.shape[0] :]
        weights, key = self.self_attn_weights.streaming_forward(x, positions, key, mask[:, None, None])
        x = x + self.feed_forward1(x)
        y, nonlin = self.nonlin_attention.streaming_forward(x, weights[:, 0], nonlin)
        x = x + y
        y, val1 = self.self_attn1.streaming_forward(x, weights, val1)
        x = _adapted(x + y, self.post_sa_adapter)
        y, conv1 = self.conv_module1.streaming_forward(x, padding, conv1)
        x = x + y
        x = _adapted(self.bypass_mid(before, x + self.feed_forward2(x)), self.mid_adapter)
        y, val2 = self.self_attn2.streaming_forward(x, weights, val2)
        x = x + y
        y, conv2 = self.conv_module2.streaming_forward(x, padding, conv2)
        x = _adapted(x + y, self.post_conv_adapter)
        x = self.bypass(before, self.norm(x + self.feed_forward3(x)))
        return _adapted(x, self.adapter), [key, nonlin, val1, val2, conv1, conv2]

    def _utterance_mask(self, x: Tensor) -> Tensor | float:
        """(N, 1, 1): 0 for utterances that skip all attention of this layer, else 1."""
        rate = self.value(self.attention_skip_rate)
        return drop_utterances(x.new_ones(x.shape[0], 1, 1), rate) if rate > 0.0 else 1.0

    def _skip(self, x: Tensor, rate: Schedule) -> Tensor:
        return drop_utterances(x, self.value(rate))


def _adapted(x: Tensor, adapter: nn.Module | None) -> Tensor:
    """(N, T, D) -> (N, T, D)."""
    if adapter is None:
        return x
    y: Tensor = adapter(x)
    return y
