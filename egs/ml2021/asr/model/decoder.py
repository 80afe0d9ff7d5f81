"""Stateless prediction network (Ghodsi et al., 2020): embeds the last few tokens and convolves them.

Legend: N batch, U tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.regularisers import Balancer


class Decoder(nn.Module):
    """Sees only the last `context_size` tokens; the context at the start is blanks."""

    def __init__(
        self, vocab_size: int, decoder_dim: int, blank_id: int, context_size: int, dropout: float = 0.0
    ) -> None:
        """
        Args:
          dropout: in training, the probability that a token of the context is hidden, and that an output is 0.
        """
        super().__init__()
        self.blank_id, self.context_size, self.vocab_size, self.dropout = blank_id, context_size, vocab_size, dropout
        self.embedding = nn.Embedding(vocab_size, decoder_dim)
        # these stop the embeddings from growing or shrinking, which would spoil averages of checkpoints
        self.balancer = Balancer(0.0, 1.0, 0.5, 1.0, probability=0.05)
        self.balancer2 = Balancer(0.0, 1.0, 0.5, 1.0, probability=0.05)
        if context_size > 1:
            self.conv = nn.Conv1d(decoder_dim, decoder_dim, context_size, groups=decoder_dim // 4, bias=False)

    def forward(self, y: Tensor, need_pad: bool = True) -> Tensor:
        """
        Args:
          y: token ids (N, U), or a single context (N, context_size) if need_pad is False. Negative ids embed as zero.
          need_pad: put context_size - 1 zero vectors in front, so that there are as many outputs as ids.
        Returns:
          (N, U, decoder_dim), or (N, 1, decoder_dim).
        """
        embedded: Tensor = self.balancer(self.embedding(y.clamp(min=0)) * (y >= 0).unsqueeze(2))
        if self.training and self.dropout > 0:
            embedded = embedded * self._dropped(torch.ones_like(embedded[..., :1]))
        if self.context_size == 1:
            return self._dropped(embedded)
        embedded = embedded.transpose(1, 2)
        if need_pad:
            embedded = nn.functional.pad(embedded, (self.context_size - 1, 0))
        convolved: Tensor = self.balancer2(nn.functional.relu(self.conv(embedded).transpose(1, 2)))
        return self._dropped(convolved)

    def _dropped(self, x: Tensor) -> Tensor:
        """x with dropout in training; without, x itself, and no random numbers are drawn."""
        return nn.functional.dropout(x, self.dropout) if self.training and self.dropout > 0 else x
