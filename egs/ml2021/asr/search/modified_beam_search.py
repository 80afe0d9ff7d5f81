"""Batched modified beam search, like icefall's: at most one token per frame; equal hypotheses are merged by log-add.

Legend: N utterances, K beam, T frames, D encoder dimension, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ml2021.asr.fusion.scorer import Scorer, select
from ml2021.asr.model.context import project, start_context
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.ctc_prefix_score import CtcGuide
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.trellis import Trellis, extended, start_hashes


class ModifiedBeam:
    """The hypotheses of N utterances. Frames may be passed in several calls, as for a stream."""

    def __init__(
        self,
        model: AsrModel,
        num_utterances: int,
        beam: int,
        blank_penalty: float = 0.0,
        fusion: Scorer | None = None,
        guide: CtcGuide | None = None,
    ) -> None:
        device = model.simple_am_proj.weight.device
        self.model, self.beam, self.blank_penalty, self.fusion = model, beam, blank_penalty, fusion
        self.log_probs = torch.full((num_utterances, beam), -torch.inf, device=device)  # including fusion
        self.log_probs[:, 0] = 0.0
        self.num_tokens = torch.zeros(num_utterances, beam, dtype=torch.int64, device=device)
        self.hashes = start_hashes(num_utterances, beam, device)
        self.context = start_context(model, num_utterances * beam, device)  # (N * K, context_size)
        self.lm = project(model, self.context)  # (N * K, J)
        self.states = fusion.start(num_utterances * beam) if fusion else ()
        self.trellis = Trellis()
        self.guide = guide  # by a CTC head; it needs all frames from the start

    @torch.no_grad()
    def advance(self, encoder_out: Tensor, encoder_out_lens: Tensor) -> None:
        """Process frames encoder_out (N, T, D), the first encoder_out_lens (N,) of each utterance."""
        am = self.model.joiner.encoder_proj(encoder_out)
        for t in range(am.shape[1]):
            self._advance_frame(am[:, t], t < encoder_out_lens)

    def totals(self) -> Tensor:
        """Log-prob of each hypothesis including fusion's final scores, (N, K); -inf for empty places of the beam.

        With a guide, the final score of the hypothesis divided by 1 - w.
        """
        if self.fusion is None and self.guide is None:
            return self.log_probs
        totals = self.log_probs
        if self.fusion is not None:
            final = self.fusion.final(self.states).view_as(totals)
            totals = totals + (final if self.guide is None else self.guide.others * final)
        return totals if self.guide is None else totals + self.guide.final().view_as(totals)

    def hypotheses(self) -> list[list[Hypothesis]]:
        """All hypotheses of each utterance, by their place in the beam."""
        num_utterances, device = len(self.log_probs), self.log_probs.device
        columns = [self.trellis.trace(torch.full((num_utterances,), k, device=device)) for k in range(self.beam)]
        return [list(of_utterance) for of_utterance in zip(*columns)]

    def best(self, more: Tensor | None = None) -> list[Hypothesis]:
        """The hypothesis of each utterance with the highest log-prob per token, counting the start context.

        With a guide: with the highest score, since CTC counts the tokens that are left out.

        Args:
          more: (N, K), added to the totals first.
        """
        totals = self.totals() if more is None else self.totals() + more
        if self.guide is not None:
            return self.trellis.trace(totals.argmax(dim=1))
        normalised = totals / (self.num_tokens + self.model.decoder.context_size)
        return self.trellis.trace(normalised.argmax(dim=1))

    def num_settled(self) -> list[int]:
        """How many tokens of each utterance's last result will not change, as all its hypotheses have them."""
        return self.trellis.num_settled()

    def _advance_frame(self, am: Tensor, active: Tensor) -> None:
        """am (N, J); active (N,) bool: whether the utterance has this frame."""
        num_utterances, beam = self.log_probs.shape
        logits = self.model.joiner(am[:, None], self.lm.view(num_utterances, beam, -1))  # (N, K, V)
        logits[..., BLANK_ID] -= self.blank_penalty
        acoustic = logits.float().log_softmax(dim=2)
        scores = acoustic + self.log_probs[..., None]
        if self.fusion is not None:
            added = self.fusion.scores(self.states).view_as(scores)
            scores = scores + (added if self.guide is None else self.guide.others * added)
        vocab_size = scores.shape[2]
        ranks = scores if self.guide is None else self.guide.ranks(scores)
        log_probs, chosen = ranks.view(num_utterances, -1).topk(beam, dim=1)
        if self.guide is not None:
            kept = scores.view(num_utterances, -1).gather(1, chosen)
            log_probs = torch.where(log_probs == -torch.inf, log_probs, kept)
        slots = torch.arange(beam, device=am.device).expand_as(chosen)
        parents = torch.where(active[:, None], chosen // vocab_size, slots)
        tokens = torch.where(active[:, None], chosen % vocab_size, BLANK_ID)
        probs = acoustic.view(num_utterances, -1).gather(1, chosen).exp()
        log_probs = torch.where(active[:, None], log_probs, self.log_probs)
        hashes = self.hashes.gather(1, parents)
        self.hashes = torch.where(tokens == BLANK_ID, hashes, extended(hashes, tokens))
        self.log_probs = _merged(log_probs, self.hashes)
        self.num_tokens = self.num_tokens.gather(1, parents) + (tokens != BLANK_ID)
        self.trellis.add(parents, tokens, probs)
        self._follow(parents, tokens)

    def _follow(self, parents: Tensor, tokens: Tensor) -> None:
        """Update contexts, decoder outputs and fusion states for the new hypotheses; parents, tokens (N, K)."""
        offsets = torch.arange(len(parents), device=parents.device)[:, None] * self.beam
        rows, tokens = (parents + offsets).view(-1), tokens.view(-1)
        context = self.context[rows]
        moved = torch.cat([context[:, 1:], tokens[:, None]], dim=1)
        self.context = torch.where(tokens[:, None] == BLANK_ID, context, moved)
        if rows.device.type == "cpu":  # most tokens are blanks, which leave the decoder's output as it is
            self.lm, new = self.lm[rows], (tokens != BLANK_ID).nonzero().squeeze(1)
            if len(new):
                self.lm[new] = project(self.model, self.context[new])
        else:  # to ask which are not would make the process wait for the GPU
            self.lm = project(self.model, self.context)
        if self.fusion is not None:
            self.states = self.fusion.advance(select(self.states, rows), tokens)
        if self.guide is not None:
            self.guide.follow(rows, tokens)


def modified_beam_search(
    model: AsrModel,
    encoder_out: Tensor,
    encoder_out_lens: Tensor,
    beam: int = 4,
    blank_penalty: float = 0.0,
    fusion: Scorer | None = None,
    guide: CtcGuide | None = None,
    rescore: Callable[[list[list[Hypothesis]]], Tensor] | None = None,
) -> list[Hypothesis]:
    """
    Args:
      model: in evaluation mode.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      beam: number of hypotheses kept at each frame.
      blank_penalty: subtracted from the blank's logit.
      fusion: adds to token scores before the best hypotheses are chosen.
      guide: adds the scores of the CTC head to those of the hypotheses.
      rescore: gives what is added to the log-probs of the last beam's hypotheses, (N, K), before the best is chosen.
    Returns:
      One hypothesis per utterance.
    """
    state = ModifiedBeam(model, len(encoder_out), beam, blank_penalty, fusion, guide)
    state.advance(encoder_out, encoder_out_lens)
    return state.best(None if rescore is None else rescore(state.hypotheses()))


def _merged(log_probs: Tensor, hashes: Tensor) -> Tensor:
    """Log-probs (N, K), best first -> the same, where the first of equal hypotheses gets their sum, the others -inf."""
    equal = hashes[:, :, None] == hashes[:, None, :]  # (N, K, K)
    is_first = equal.int().argmax(dim=2) == torch.arange(hashes.shape[1], device=hashes.device)
    summed = torch.where(equal, log_probs[:, None, :], -torch.inf).logsumexp(dim=2)
    return torch.where(is_first, summed, -torch.inf)
