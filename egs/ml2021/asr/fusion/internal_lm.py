"""The internal language model of a transducer, which is subtracted (ILME; Meng et al., 2021, arXiv 2011.01991).

It is what the decoder and the joiner give without the encoder: the softmax over all tokens but the blank of the
joiner's output, with zeros in place of the encoder's projection.

Legend: B hypotheses, C context_size, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml2021.asr.fusion.scorer import Scorer, States
from ml2021.asr.model.context import project, start_context
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel


class InternalLm(Scorer):
    """Log-probabilities times minus a scale. States: the decoder's contexts, (B, C), and the next scores, (B, V)."""

    def __init__(self, model: AsrModel, scale: float) -> None:
        """
        Args:
          model: the transducer, in evaluation mode.
          scale: weight of the log-probabilities, above 0.
        """
        self.model, self.scale = model, scale

    @torch.no_grad()
    def start(self, num: int) -> States:
        context = start_context(self.model, num, self.model.simple_am_proj.weight.device)
        return context, self._next_scores(context)

    def scores(self, states: States) -> Tensor:
        return states[1]

    @torch.no_grad()
    def advance(self, states: States, tokens: Tensor) -> States:
        context, scores = states
        moved = torch.cat([context[:, 1:], tokens[:, None]], dim=1)
        if tokens.device.type != "cpu":  # to ask which are no blanks would make the process wait for the GPU
            is_blank = (tokens == BLANK_ID)[:, None]
            context = torch.where(is_blank, context, moved)
            return context, self._next_scores(context)
        rows = (tokens != BLANK_ID).nonzero().squeeze(1)
        if not len(rows):
            return states
        new = moved[rows]
        return context.index_copy(0, rows, new), scores.index_copy(0, rows, self._next_scores(new))

    def _next_scores(self, context: Tensor) -> Tensor:
        """Contexts (B, C) -> (B, V)."""
        lm = project(self.model, context)
        logits: Tensor = self.model.joiner(torch.zeros_like(lm), lm).float()
        logits[:, BLANK_ID] = -torch.inf
        scores = -self.scale * logits.log_softmax(dim=1)
        scores[:, BLANK_ID] = 0.0
        return scores
