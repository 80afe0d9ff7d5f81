"""An LSTM language model over tokens, and its scorer.

Legend: N sequences, U tokens, L layers, D dimension, B hypotheses, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lhotse_prep.tokens.special_tokens import BLANK_ID
from ml2021.asr.fusion.config import RnnLmConfig
from ml2021.asr.fusion.scorer import Scorer, States


class RnnLm(nn.Module):
    """Embedding, LSTM, and an output layer that shares the embedding's weights (Press and Wolf, 2017)."""

    def __init__(self, config: RnnLmConfig, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, config.dim)
        nn.init.normal_(self.embedding.weight, std=config.dim**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        between = config.dropout if config.num_layers > 1 else 0.0
        self.lstm = nn.LSTM(config.dim, config.dim, config.num_layers, batch_first=True, dropout=between)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(
        self, tokens: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """tokens (N, U), state 2 x (L, N, D) -> logits of each next token (N, U, V), new state."""
        out, new_state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return nn.functional.linear(self.dropout(out), self.embedding.weight, self.bias), new_state


class RnnScorer(Scorer):
    """Log-probabilities times a scale. States: the LSTM's h and c, (B, L, D) each, and the next scores, (B, V)."""

    def __init__(self, model: RnnLm, scale: float, bos: int) -> None:
        """
        Args:
          model: trained with token bos in front of each text.
          scale: weight of the log-probabilities.
          bos: TokenTable.special.bos.
        """
        self.model, self.scale, self.bos = model.eval(), scale, bos

    @torch.no_grad()
    def start(self, num: int) -> States:
        tokens = torch.full((num, 1), self.bos, device=self.model.bias.device)
        return self._states(*self.model(tokens))

    def scores(self, states: States) -> Tensor:
        return states[2]

    @torch.no_grad()
    def advance(self, states: States, tokens: Tensor) -> States:
        if tokens.device.type != "cpu":  # to ask which are no blanks would make the process wait for the GPU
            h, c = (x.transpose(0, 1).contiguous() for x in states[:2])
            new, is_blank = self._states(*self.model(tokens[:, None], (h, c))), tokens == BLANK_ID
            return tuple(torch.where(is_blank.view(-1, *[1] * (x.dim() - 1)), old, x) for old, x in zip(states, new))
        rows = (tokens != BLANK_ID).nonzero().squeeze(1)
        if not len(rows):
            return states
        h, c = (x[rows].transpose(0, 1).contiguous() for x in states[:2])
        new = self._states(*self.model(tokens[rows, None], (h, c)))
        return tuple(old.index_copy(0, rows, x) for old, x in zip(states, new))

    def _states(self, logits: Tensor, state: tuple[Tensor, Tensor]) -> States:
        scores = logits[:, -1].float().log_softmax(dim=1) * self.scale
        scores[:, BLANK_ID] = 0.0
        return (*(x.transpose(0, 1).contiguous() for x in state), scores)
