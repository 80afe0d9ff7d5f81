"""Beam search of a transducer (Graves, 2012), like icefall's: several tokens per frame, one utterance at a time.

At each frame, hypotheses are expanded in order of probability. Expanding one advances it to the next frame by a blank
and adds its best extensions to those waiting, until `beam` hypotheses for the next frame are more probable than every
waiting one. Scores of a language model and hotwords are added when a token is emitted, as in modified beam search.

Legend: N utterances, T frames, D encoder dimension, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ml2021.asr.fusion.scorer import Scorer, States
from ml2021.asr.model.context import project
from ml2021.asr.model.recogniser import BLANK_ID, AsrModel
from ml2021.asr.search.hypothesis import Hypothesis


@dataclass(frozen=True)
class _Partial:
    """A hypothesis; its frames and scores are those of the most probable path to it."""

    hypothesis: Hypothesis
    log_prob: float  # including fusion
    num_new: int = 0  # tokens emitted at the current frame


Pool = dict[tuple[int, ...], _Partial]


class UtteranceSearch:
    """The search of one utterance: caches decoder outputs by context, and fusion states by token sequence."""

    def __init__(self, model: AsrModel, blank_penalty: float, fusion: Scorer | None) -> None:
        self.model, self.blank_penalty, self.fusion = model, blank_penalty, fusion
        self.lm: dict[tuple[int, ...], Tensor] = {}
        self.states: dict[tuple[int, ...], States] = {(): fusion.start(1)} if fusion else {}

    def scores(self, am: Tensor, tokens: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Log-probs (V,) of the next symbol after `tokens` at a frame am (J,); the same including fusion (V,)."""
        size = self.model.decoder.context_size
        context = ((-1,) * (size - 1) + (BLANK_ID,) + tokens)[-size:]
        if context not in self.lm:
            self.lm[context] = project(self.model, torch.tensor([context], device=am.device))[0]
        logits = self.model.joiner(am, self.lm[context])
        logits[BLANK_ID] -= self.blank_penalty
        log_probs = logits.float().log_softmax(dim=0)
        if self.fusion is None:
            return log_probs, log_probs
        if tokens not in self.states:  # one token more than a hypothesis that was expanded before
            token = torch.tensor([tokens[-1]], device=am.device)
            self.states[tokens] = self.fusion.advance(self.states[tokens[:-1]], token)
        return log_probs, log_probs + self.fusion.scores(self.states[tokens])[0]

    def keep(self, hypotheses: Pool) -> None:
        """Drop the states of all other hypotheses."""
        if self.fusion is not None:
            self.states = {tokens: self.states[tokens] for tokens in hypotheses}

    def best(self, hypotheses: Pool) -> Hypothesis:
        """The hypothesis with the highest log-prob per token, including final scores and counting the start context."""

        def normalised(tokens: tuple[int, ...]) -> float:
            end = float(self.fusion.final(self.states[tokens])[0]) if self.fusion else 0.0
            return (hypotheses[tokens].log_prob + end) / (len(tokens) + self.model.decoder.context_size)

        return hypotheses[max(hypotheses, key=normalised)].hypothesis

    def advance(self, hypotheses: Pool, am: Tensor, frame: int, beam: int, max_symbols: int) -> Pool:
        """The `beam` best hypotheses after a frame am (J,), given those before it."""
        waiting = {tokens: replace(partial, num_new=0) for tokens, partial in hypotheses.items()}
        done: Pool = {}
        cache: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        while waiting:
            tokens = max(waiting, key=lambda k: waiting[k].log_prob)
            partial = waiting.pop(tokens)
            if tokens not in cache:
                cache[tokens] = self.scores(am, tokens)
            log_probs, totals = cache[tokens]
            _add(done, replace(partial, log_prob=partial.log_prob + float(totals[BLANK_ID])))
            if partial.num_new < max_symbols:
                values, ids = totals.topk(min(beam + 1, len(totals)))
                for token, value in zip(ids.tolist(), values.tolist()):
                    if token != BLANK_ID:
                        _add(waiting, _with_token(partial, token, frame, value, float(log_probs[token])))
            threshold = max((p.log_prob for p in waiting.values()), default=-np.inf)
            better = [p for p in done.values() if p.log_prob > threshold]
            if len(better) >= beam or not waiting:
                better.sort(key=lambda p: -p.log_prob)
                done = {p.hypothesis.tokens: p for p in better[:beam]}
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
      model: in evaluation mode; emits several tokens per frame if trained with the regular loss.
      encoder_out: (N, T, D).
      encoder_out_lens: (N,).
      beam: number of hypotheses kept at each frame.
      blank_penalty: subtracted from the blank's logit.
      max_symbols: limit on tokens per frame; the cost can grow exponentially with it if blanks are improbable.
      fusion: adds to token scores before the best hypotheses are chosen.
    Returns:
      One hypothesis per utterance: the one with the highest log-prob per token, counting the start context.
    """
    am = model.joiner.encoder_proj(encoder_out)
    best = []
    for n, num_frames in enumerate(encoder_out_lens.tolist()):
        search = UtteranceSearch(model, blank_penalty, fusion)
        best.append(search.best(search_frames(search, am[n, :num_frames], beam, max_symbols)))
    return best


def search_frames(search: UtteranceSearch, am: Tensor, beam: int, max_symbols: int) -> Pool:
    """The hypotheses after the frames am (T, J), by token sequence.

    A log-prob sums over the paths that were kept, and includes fusion except its final scores.
    """
    pool: Pool = {(): _Partial(Hypothesis((), (), ()), 0.0)}
    for t in range(len(am)):
        pool = search.advance(pool, am[t], t, beam, max_symbols)
    return pool


def _with_token(partial: _Partial, token: int, frame: int, total: float, log_prob: float) -> _Partial:
    """Append a token with this log_prob; total includes fusion."""
    old = partial.hypothesis
    score = round(float(np.exp(log_prob)), 4)
    new = Hypothesis((*old.tokens, token), (*old.frames, frame), (*old.scores, score))
    return _Partial(new, partial.log_prob + total, partial.num_new + 1)


def _add(pool: Pool, new: _Partial) -> None:
    """Add a hypothesis to the pool; if it is there already, add its probability to that one."""
    tokens = new.hypothesis.tokens
    old = pool.get(tokens)
    if old is None:
        pool[tokens] = new
    else:
        log_prob = float(np.logaddexp(old.log_prob, new.log_prob))
        pool[tokens] = replace(old, log_prob=log_prob, num_new=min(old.num_new, new.num_new))
