"""Beam search of a transducer (Graves, 2012), as icefall's: any number of tokens a frame, one utterance at a time.

At a frame, hypotheses wait to be looked at, the most probable first. Each goes on to the next frame by a blank, and its
best extensions wait in turn, until `beam` hypotheses for the next frame are more probable than all that wait.

Legend: N utterances, T frames, D encoder dimension, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml2021.asr.model import BLANK_ID, AsrModel
from ml2021.asr.search.context import project
from ml2021.asr.search.hypothesis import Hypothesis


@dataclass(frozen=True)
class _Partial:
    """A hypothesis: its frames and scores are those of the most probable way to it."""

    found: Hypothesis
    log_prob: float
    num_new: int = 0  # tokens emitted at the present frame


Pool = dict[tuple[int, ...], _Partial]


class _Utterance:
    """Joiner outputs of one utterance, computed once a context (and frame)."""

    def __init__(self, model: AsrModel, blank_penalty: float) -> None:
        self.model, self.blank_penalty = model, blank_penalty
        self.lm: dict[tuple[int, ...], Tensor] = {}

    def log_probs(self, am: Tensor, tokens: tuple[int, ...]) -> Tensor:
        """Of the next symbol, (V,), at a frame am (J,) after some tokens."""
        size = self.model.decoder.context_size
        context = ((-1,) * (size - 1) + (BLANK_ID,) + tokens)[-size:]
        if context not in self.lm:
            self.lm[context] = project(self.model, torch.tensor([context], device=am.device))[0]
        logits = self.model.joiner(am, self.lm[context])
        logits[BLANK_ID] -= self.blank_penalty
        return logits.float().log_softmax(dim=0)


@torch.no_grad()
def beam_search(
    model: AsrModel, encoder_out: Tensor, encoder_out_lens: Tensor, beam: int = 4, blank_penalty: float = 0.0,
    max_symbols: int = 5,
) -> list[Hypothesis]:  # fmt: skip
    """
    Args:
      model: in evaluation mode; one trained with the regular loss gives several tokens a frame.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      beam: hypotheses kept at a frame.
      blank_penalty: taken from the blank's logit.
      max_symbols: tokens a frame, at most: the work may grow exponentially in it where blanks are improbable.
    Returns:
      One hypothesis an utterance: the one with the most log-probability a token, the start context counted too.
    """
    am = model.joiner.encoder_proj(encoder_out)
    start = model.decoder.context_size
    best = []
    for n, num_frames in enumerate(encoder_out_lens.tolist()):
        pool = search_frames(model, am[n, :num_frames], beam, blank_penalty, max_symbols)
        best.append(max(pool.values(), key=lambda h: h.log_prob / (len(h.found.tokens) + start)).found)
    return best


def search_frames(model: AsrModel, am: Tensor, beam: int, blank_penalty: float, max_symbols: int) -> Pool:
    """The hypotheses of an utterance, am (T, J), by tokens; their log-probs sum over the ways that were kept."""
    utterance = _Utterance(model, blank_penalty)
    done: Pool = {(): _Partial(Hypothesis((), (), ()), 0.0)}
    for t in range(len(am)):
        waiting = {tokens: replace(h, num_new=0) for tokens, h in done.items()}
        done, cache = {}, dict[tuple[int, ...], Tensor]()
        while waiting:
            tokens = max(waiting, key=lambda k: waiting[k].log_prob)
            hypothesis = waiting.pop(tokens)
            if tokens not in cache:
                cache[tokens] = utterance.log_probs(am[t], tokens)
            log_probs = cache[tokens]
            _add(done, replace(hypothesis, log_prob=hypothesis.log_prob + float(log_probs[BLANK_ID])))
            if hypothesis.num_new < max_symbols:
                values, ids = log_probs.topk(min(beam + 1, len(log_probs)))
                for token, value in zip(ids.tolist(), values.tolist()):
                    if token != BLANK_ID:
                        _add(waiting, _with_token(hypothesis, token, t, value))
            threshold = max((h.log_prob for h in waiting.values()), default=-np.inf)
            better = [h for h in done.values() if h.log_prob > threshold]
            if len(better) >= beam or not waiting:
                better.sort(key=lambda h: -h.log_prob)
                done = {h.found.tokens: h for h in better[:beam]}
                break
    return done


def _with_token(hypothesis: _Partial, token: int, frame: int, log_prob: float) -> _Partial:
    old = hypothesis.found
    score = round(float(np.exp(log_prob)), 4)
    found = Hypothesis((*old.tokens, token), (*old.frames, frame), (*old.scores, score))
    return _Partial(found, hypothesis.log_prob + log_prob, hypothesis.num_new + 1)


def _add(pool: Pool, new: _Partial) -> None:
    """Add a hypothesis; the probability of an equal one goes to the one that is there."""
    old = pool.get(new.found.tokens)
    if old is None:
        pool[new.found.tokens] = new
    else:
        log_prob = float(np.logaddexp(old.log_prob, new.log_prob))
        pool[new.found.tokens] = replace(old, log_prob=log_prob, num_new=min(old.num_new, new.num_new))
