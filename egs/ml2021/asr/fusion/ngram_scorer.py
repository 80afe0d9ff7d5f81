"""An n-gram model as a scorer of hypotheses. A state is a context: its number.

The model is in tables on the device, so that all hypotheses of a batch are scored at once, and a GPU is not waited for.
On a CPU, the scores after a context are kept, and most of them are needed again.

Legend: B hypotheses, V vocabulary, S contexts, A arcs (n-grams that continue a context), L tokens of a context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lhotse_prep.tokens.special_tokens import BLANK_ID
from ml2021.asr.fusion.arpa import BOS, EOS, ArpaModel
from ml2021.asr.fusion.scorer import Scorer, States

ROWS_KEPT = 10_000  # contexts whose scores are kept on a CPU; these are V numbers each
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
        self.device, self.vocab_size = device, len(symbols)
        ids = {symbol: i for i, symbol in enumerate(symbols)} | {BOS: len(symbols), EOS: len(symbols) + 1}
        factor = scale * math.log(10)
        continuations: dict[Context, dict[int, float]] = {(): {}}
        backoffs: dict[Context, float] = {}
        for table in model.tables:
            for ngram, (log_prob, backoff) in table.items():
                if all(t in ids for t in ngram):
                    key = tuple(ids[t] for t in ngram)
                    if backoff != 0:
                        backoffs[key] = backoff * factor
                    if key[-1] < self.vocab_size:
                        continuations.setdefault(key[:-1], {})[key[-1]] = log_prob * factor
        unknown = model.tables[0].get((UNKNOWN,), (FLOOR / math.log(10), 0.0))[0] * factor
        unigrams = torch.full((self.vocab_size,), unknown)
        for token, value in continuations[()].items():
            unigrams[token] = value
        if scale < 0:  # what a model does not know must not be worth more than what it knows
            known = [value for token, value in continuations[()].items() if symbols[token] != UNKNOWN]
            unigrams = unigrams.clamp(max=max(known, default=0.0))
        self._unigrams = unigrams.to(device)
        self._set_contexts({*continuations, *backoffs}, backoffs)
        self._set_arcs(continuations)
        self._rows: dict[int, Tensor] = {}  # on a CPU: {number of a context: scores (V,)}

    def _set_contexts(self, contexts: set[Context], backoffs: dict[Context, float]) -> None:
        """Number the contexts; the tables have one row for each. Number 0 is the context without tokens."""
        contexts |= {c[:n] for c in contexts for n in range(len(c))}
        self._contexts = sorted(contexts, key=lambda c: (len(c), c))
        self._numbers = {context: i for i, context in enumerate(self._contexts)}
        shorter = [self._number(context[1:]) for context in self._contexts]
        levels = [0]  # how often a context must be shortened until no token is left
        for i in shorter[1:]:
            levels.append(levels[i] + 1)
        self._shorter = torch.tensor(shorter, device=self.device)  # (S,) the longest shorter context
        self._levels = torch.tensor(levels, device=self.device)  # (S,)
        self._backoffs = torch.tensor([backoffs.get(c, 0.0) for c in self._contexts], device=self.device)  # (S,)
        self._num_levels = max(levels)
        size = self.vocab_size + 2  # of the numbers of tokens, with <s> and </s>
        longer = sorted((self._numbers[c[:-1]] * size + c[-1], i) for c, i in self._numbers.items() if c)
        # (S - 1,) number and token of a context as one key, ascending; the number of the context with this token more
        self._longer_keys = torch.tensor([key for key, _ in longer] or [-1], device=self.device)
        self._longer = torch.tensor([i for _, i in longer] or [0], device=self.device)

    def _number(self, context: Context) -> int:
        """The number of the longest end of a context that has one."""
        while context not in self._numbers:
            context = context[1:]
        return self._numbers[context]

    def _set_arcs(self, continuations: dict[Context, dict[int, float]]) -> None:
        """The arcs of all contexts but the first, one context after another."""
        arcs = [continuations.get(context, {}) for context in self._contexts]
        arcs[0] = {}  # whose values are the unigrams
        self._num_arcs = torch.tensor([len(a) for a in arcs], device=self.device)  # (S,)
        self._first_arcs = self._num_arcs.cumsum(0) - self._num_arcs  # (S,)
        self._arc_tokens = torch.tensor([t for a in arcs for t in a] or [BLANK_ID], device=self.device)  # (A,)
        self._arc_values = torch.tensor([v for a in arcs for v in a.values()] or [0.0], device=self.device)  # (A,)
        levels = self._levels.tolist()
        self._most_arcs = [0] * (self._num_levels + 1)  # of a context, by its level
        for level, of_context in zip(levels, arcs):
            self._most_arcs[level] = max(self._most_arcs[level], len(of_context))

    def start(self, num: int) -> States:
        return (torch.full((num,), self._number((self.vocab_size,)), device=self.device),)

    def scores(self, states: States) -> Tensor:
        if self.device.type != "cpu":
            return self._scores(states[0])
        numbers = states[0].tolist()
        if len(self._rows) + len(numbers) > ROWS_KEPT:
            self._rows = {}
        missing = sorted({n for n in numbers if n not in self._rows})
        if missing:
            self._rows |= zip(missing, self._scores(torch.tensor(missing)).unbind())
        return torch.stack([self._rows[n] for n in numbers])

    def _scores(self, context: Tensor) -> Tensor:
        """The scores after contexts, (B,) numbers -> (B, V).

        The values of the shortest context come first; those of longer ones replace them. The value of a context's arc
        is increased by the back-offs of all longer contexts, which do not have it.
        """
        at_level: list[tuple[Tensor, Tensor]] = []  # contexts of a level, or 0; the back-offs of longer ones
        backoff = self._backoffs.new_zeros(len(context))
        for level in range(self._num_levels, 0, -1):
            is_here = self._levels[context] == level
            at_level.append((torch.where(is_here, context, 0), backoff))
            backoff = torch.where(is_here, backoff + self._backoffs[context], backoff)
            context = torch.where(is_here, self._shorter[context], context)
        scores = self._unigrams + backoff[:, None]  # (B, V)
        for level, (of_level, longer) in enumerate(reversed(at_level), 1):
            counts = self._num_arcs[of_level]
            # on a CPU, what this batch needs; on a GPU, whose counts would have to be waited for, what any may need
            width = int(counts.max()) if scores.device.type == "cpu" else self._most_arcs[level]
            offsets = torch.arange(width, device=self.device)
            exists = offsets < counts[:, None]  # (B, width)
            arcs = torch.where(exists, self._first_arcs[of_level][:, None] + offsets, 0)
            tokens = torch.where(exists, self._arc_tokens[arcs], BLANK_ID)  # the score of the blank is set below
            scores.scatter_(1, tokens, self._arc_values[arcs] + longer[:, None])
        scores[:, BLANK_ID] = 0.0
        return scores

    def advance(self, states: States, tokens: Tensor) -> States:
        (context,) = states
        if self.device.type != "cpu":
            return (torch.where(tokens == BLANK_ID, context, self._following(context, tokens)),)
        new = (tokens != BLANK_ID).nonzero().squeeze(1)  # at most frames none
        if not len(new):
            return states
        return (context.index_copy(0, new, self._following(context[new], tokens[new])),)

    def _following(self, context: Tensor, tokens: Tensor) -> Tensor:
        """The longest contexts that end with these tokens, (B,)."""
        following, is_set = torch.zeros_like(context), torch.zeros_like(context, dtype=torch.bool)
        for _ in range(self._num_levels + 1):
            keys = context * (self.vocab_size + 2) + tokens
            places = torch.searchsorted(self._longer_keys, keys).clamp(max=len(self._longer_keys) - 1)
            matches = self._longer_keys[places] == keys
            following = torch.where(matches & ~is_set, self._longer[places], following)
            is_set, context = is_set | matches, self._shorter[context]
        return following
