"""An n-gram model as a scorer of hypotheses. A state is a context; its row has the log-probabilities of all tokens.

Legend: B hypotheses, V vocabulary.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from lhotse_prep.tokens.special_tokens import BLANK_ID
from ml2021.asr.fusion.arpa import BOS, EOS, ArpaModel
from ml2021.asr.fusion.scorer import Scorer, States

ROWS_KEPT = 10_000  # rows that are cached, those of the most recent contexts; a row has V numbers
UNKNOWN = "<unk>"
FLOOR = -20.0  # log-probability of a token that is not in a model without <unk>
Context = tuple[int, ...]


class NgramScorer(Scorer):
    """Log-probabilities times a scale. Hypotheses start with <s>, but </s> is not scored.

    The reason: windows are cut at pauses, so that a window may hold several sentences or part of one.
    """

    def __init__(self, model: ArpaModel, symbols: Sequence[str], scale: float, device: torch.device) -> None:
        """
        Args:
          model: an n-gram model over the symbols.
          symbols: symbols of the tokens, by id.
        """
        self.scale, self.device, self.vocab_size, self.order = scale, device, len(symbols), model.order
        ids = {symbol: i for i, symbol in enumerate(symbols)} | {BOS: len(symbols), EOS: len(symbols) + 1}
        continuations: dict[Context, list[tuple[int, float]]] = defaultdict(list)
        self._backoffs: dict[Context, float] = {}
        for table in model.tables:
            for ngram, (log_prob, backoff) in table.items():
                if all(t in ids for t in ngram):
                    key = tuple(ids[t] for t in ngram)
                    if backoff != 0:
                        self._backoffs[key] = backoff * math.log(10)
                    if key[-1] < self.vocab_size:
                        continuations[key[:-1]].append((key[-1], log_prob * math.log(10)))
        unknown = model.tables[0].get((UNKNOWN,), (FLOOR / math.log(10), 0.0))[0] * math.log(10)
        self._base = torch.full((self.vocab_size,), unknown)
        self._continuations = {
            context: (torch.tensor([i for i, _ in pairs]), torch.tensor([p for _, p in pairs]))
            for context, pairs in continuations.items()
        }
        self._contexts = sorted({(), *self._continuations, *self._backoffs}, key=lambda c: (len(c), c))
        self._index = {context: i for i, context in enumerate(self._contexts)}
        self._row = lru_cache(maxsize=ROWS_KEPT)(self._computed_row)

    def start(self, num: int) -> States:
        first = self._index.get((self.vocab_size,), 0)
        return (torch.full((num,), first, device=self.device),)

    def scores(self, states: States) -> Tensor:
        return torch.stack([self._row(self._contexts[i]) for i in states[0].tolist()]) * self.scale

    def advance(self, states: States, tokens: Tensor) -> States:
        new = states[0].clone()
        for n in (tokens != BLANK_ID).nonzero().squeeze(1).tolist():
            context = (*self._contexts[int(new[n])], int(tokens[n]))[-max(1, self.order - 1) :]
            while context not in self._index:
                context = context[1:]
            new[n] = self._index[context]
        return (new,)

    def _computed_row(self, context: Context) -> Tensor:
        """Log-probabilities of all tokens after a context, (V,), on the device; 0 for the blank."""
        row = self._base if not context else self._row(context[1:]).to("cpu") + self._backoffs.get(context, 0.0)
        row = row.clone()
        if context in self._continuations:
            tokens, values = self._continuations[context]
            row[tokens] = values
        row[BLANK_ID] = 0.0
        return row.to(self.device)
