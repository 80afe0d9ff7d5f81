"""Beam search of a transducer (Graves, 2012), as icefall's: any number of tokens a frame, one utterance at a time.

At a frame, hypotheses wait to be looked at, the most probable first. Each goes on to the next frame by a blank, and its
best extensions wait in turn, until `beam` hypotheses for the next frame are more probable than all that wait. What a
language model and hotwords give a token counts from when it is emitted, as in modified beam search.

Legend: N utterances, T frames, D encoder dimension, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml2021.asr.fusion.scorer import Scorer, States
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.context import project
from ml2021.asr.search.hypothesis import Hypothesis


@dataclass(frozen=True)
class _Partial:
    """A hypothesis: its frames and scores are those of the most probable way to it."""

    found: Hypothesis
    log_prob: float  # with what fusion adds
    num_new: int = 0  # tokens emitted at the present frame


Pool = dict[tuple[int, ...], _Partial]


class _Utterance:
    """Joiner outputs of one utterance, computed once a context (and frame), and the states of its fusion."""

    def __init__(self, model: AsrModel, blank_penalty: float, fusion: Scorer | None) -> None:
        self.model, self.blank_penalty, self.fusion = model, blank_penalty, fusion
        self.lm: dict[tuple[int, ...], Tensor] = {}
        self.states: dict[tuple[int, ...], States] = {(): fusion.start(1)} if fusion else {}

    def scores(self, am: Tensor, tokens: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Of the next symbol at a frame am (J,) after some tokens: log-probs (V,), and with what fusion adds (V,)."""
        size = self.model.decoder.context_size
        context = ((-1,) * (size - 1) + (BLANK_ID,) + tokens)[-size:]
        if context not in self.lm:
            self.lm[context] = project(self.model, torch.tensor([context], device=am.device))[0]
        logits = self.model.joiner(am, self.lm[context])
        logits[BLANK_ID] -= self.blank_penalty
        log_probs = logits.float().log_softmax(dim=0)
        if self.fusion is None:
            return log_probs, log_probs
        if tokens not in self.states:  # a token more than a hypothesis that was looked at before
            token = torch.tensor([tokens[-1]], device=am.device)
            self.states[tokens] = self.fusion.advance(self.states[tokens[:-1]], token)
        return log_probs, log_probs + self.fusion.scores(self.states[tokens])[0]

    def keep(self, hypotheses: Pool) -> None:
        """Forget the states of all others."""
        if self.fusion is not None:
            self.states = {tokens: self.states[tokens] for tokens in hypotheses}

    def best(self, hypotheses: Pool) -> Hypothesis:
        """That with the most log-probability a token, the start context counted too, what the end adds included."""

        def normalised(tokens: tuple[int, ...]) -> float:
            end = float(self.fusion.final(self.states[tokens])[0]) if self.fusion else 0.0
            return (hypotheses[tokens].log_prob + end) / (len(tokens) + self.model.decoder.context_size)

        return hypotheses[max(hypotheses, key=normalised)].found

    def advance(self, hypotheses: Pool, am: Tensor, frame: int, beam: int, max_symbols: int) -> Pool:
        """The `beam` best hypotheses after a frame am (J,), from those before it."""
        waiting = {tokens: replace(h, num_new=0) for tokens, h in hypotheses.items()}
        done: Pool = {}
        cache: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        while waiting:
            tokens = max(waiting, key=lambda k: waiting[k].log_prob)
            hypothesis = waiting.pop(tokens)
            if tokens not in cache:
                cache[tokens] = self.scores(am, tokens)
            log_probs, totals = cache[tokens]
            _add(done, replace(hypothesis, log_prob=hypothesis.log_prob + float(totals[BLANK_ID])))
            if hypothesis.num_new < max_symbols:
                values, ids = totals.topk(min(beam + 1, len(totals)))
                for token, value in zip(ids.tolist(), values.tolist()):
                    if token != BLANK_ID:
                        _add(waiting, _with_token(hypothesis, token, frame, value, float(log_probs[token])))
            threshold = max((h.log_prob for h in waiting.values()), default=-np.inf)
            better = [h for h in done.values() if h.log_prob > threshold]
            if len(better) >= beam or not waiting:
                better.sort(key=lambda h: -h.log_prob)
                done = {h.found.tokens: h for h in better[:beam]}
                break
        self.keep(done)
        return done


@torch.no_grad()
def beam_search(
    model: AsrModel,
    encoder_out: Tensor,
    encoder_out_lens: Tensor,
    beam: int = 4,
    blank_penalty: float = 0.0,
    max_symbols: int = 5,
    fusion: Scorer | None = None,
) -> list[Hypothesis]:
    """
    Args:
      model: in evaluation mode; one trained with the regular loss gives several tokens a frame.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      beam: hypotheses kept at a frame.
      blank_penalty: taken from the blank's logit.
      max_symbols: tokens a frame, at most: the work may grow exponentially in it where blanks are improbable.
      fusion: adds to the scores of tokens before the best are chosen.
    Returns:
      One hypothesis an utterance: the one with the most log-probability a token, the start context counted too.
    """
    am = model.joiner.encoder_proj(encoder_out)
    best = []
    for n, num_frames in enumerate(encoder_out_lens.tolist()):
        utterance = _Utterance(model, blank_penalty, fusion)
        best.append(utterance.best(_search_frames(utterance, am[n, :num_frames], beam, max_symbols)))
    return best


def search_frames(
    model: AsrModel, am: Tensor, beam: int, blank_penalty: float, max_symbols: int, fusion: Scorer | None = None
) -> Pool:
    """The hypotheses of an utterance, am (T, J), by tokens; their log-probs sum over the ways that were kept, and have
    what fusion adds, but for that of the end."""
    return _search_frames(_Utterance(model, blank_penalty, fusion), am, beam, max_symbols)


def _search_frames(utterance: _Utterance, am: Tensor, beam: int, max_symbols: int) -> Pool:
    pool: Pool = {(): _Partial(Hypothesis((), (), ()), 0.0)}
    for t in range(len(am)):
        pool = utterance.advance(pool, am[t], t, beam, max_symbols)
    return pool


def _with_token(hypothesis: _Partial, token: int, frame: int, total: float, log_prob: float) -> _Partial:
    """total: the log-prob of the token with what fusion adds."""
    old = hypothesis.found
    score = round(float(np.exp(log_prob)), 4)
    found = Hypothesis((*old.tokens, token), (*old.frames, frame), (*old.scores, score))
    return _Partial(found, hypothesis.log_prob + total, hypothesis.num_new + 1)


def _add(pool: Pool, new: _Partial) -> None:
    """Add a hypothesis; the probability of an equal one goes to the one that is there."""
    old = pool.get(new.found.tokens)
    if old is None:
        pool[new.found.tokens] = new
    else:
        log_prob = float(np.logaddexp(old.log_prob, new.log_prob))
        pool[new.found.tokens] = replace(old, log_prob=log_prob, num_new=min(old.num_new, new.num_new))
