"""Joiner: token logits from encoder and decoder outputs, added (Graves, 2012).

Legend: N batch, T frames, U tokens, R s_range, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import scaled_linear


class Joiner(nn.Module):
    """Two projections to a common dimension, tanh of their sum, and the output layer."""

    def __init__(self, encoder_dim: int, decoder_dim: int, joiner_dim: int, vocab_size: int) -> None:
        super().__init__()
        self.encoder_proj = scaled_linear(encoder_dim, joiner_dim, 0.25)
        self.decoder_proj = scaled_linear(decoder_dim, joiner_dim, 0.25)
        self.output_linear = nn.Linear(joiner_dim, vocab_size)

    def forward(self, am: Tensor, lm: Tensor) -> Tensor:
        """
        Args:
          am: encoder_proj(encoder_out), (N, J), (N, T, 1, J), or pruned (N, T, R, J).
          lm: decoder_proj(decoder_out), (N, J), (N, 1, U + 1, J), or pruned (N, T, R, J).
        Returns:
          Unnormalised logits: the broadcast shape of am and lm with V instead of J.
        """
        logits: Tensor = self.output_linear(torch.tanh(am + lm))
        return logits
