"""The interface of language models and hotwords, which add to the score of a growing hypothesis.

Legend: B hypotheses, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

States = tuple[Tensor, ...]  # each (B, ...), with one row per hypothesis


class Scorer(ABC):
    """Scores B hypotheses, one token after another. A blank is not a token: it changes neither state nor score."""

    @abstractmethod
    def start(self, num: int) -> States:
        """States of `num` hypotheses without tokens."""

    @abstractmethod
    def scores(self, states: States) -> Tensor:
        """The amount that each possible next token would add, (B, V); 0 for the blank."""

    @abstractmethod
    def advance(self, states: States, tokens: Tensor) -> States:
        """The states after one more token for each hypothesis, (B,); a blank leaves a state unchanged."""

    def final(self, states: States) -> Tensor:
        """The amount that the end of the utterance adds, (B,)."""
        return torch.zeros(len(states[0]), device=states[0].device)


class Fusion(Scorer):
    """The sum of several scorers."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        assert scorers
        self.scorers = scorers
        self.sizes = [len(s.start(1)) for s in scorers]

    def start(self, num: int) -> States:
        return tuple(x for s in self.scorers for x in s.start(num))

    def scores(self, states: States) -> Tensor:
        return torch.stack([s.scores(x) for s, x in self._split(states)]).sum(dim=0)

    def advance(self, states: States, tokens: Tensor) -> States:
        return tuple(y for s, x in self._split(states) for y in s.advance(x, tokens))

    def final(self, states: States) -> Tensor:
        return torch.stack([s.final(x) for s, x in self._split(states)]).sum(dim=0)

    def _split(self, states: States) -> list[tuple[Scorer, States]]:
        """Each scorer with its states."""
        begins = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        return [(s, states[b : b + n]) for s, b, n in zip(self.scorers, begins, self.sizes)]


def select(states: States, rows: Tensor) -> States:
    """The states of the hypotheses `rows`, in this order; a row may occur several times."""
    return tuple(x[rows] for x in states)
