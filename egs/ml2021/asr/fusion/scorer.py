"""What is added to the score of a hypothesis while it grows: a language model's log-probabilities, hotwords' bonus.

Legend: B hypotheses, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

States = tuple[Tensor, ...]  # each (B, ...): a row for a hypothesis


class Scorer(ABC):
    """Scores the tokens of B hypotheses, one after the other. A blank is no token: it changes nothing."""

    @abstractmethod
    def start(self, num: int) -> States:
        """States of `num` hypotheses without tokens."""

    @abstractmethod
    def scores(self, states: States) -> Tensor:
        """What each next token would add, (B, V); 0 for the blank."""

    @abstractmethod
    def advance(self, states: States, tokens: Tensor) -> States:
        """States after one more token each, (B,); a blank leaves a state as it is."""

    def final(self, states: States) -> Tensor:
        """What the end of the utterance adds, (B,)."""
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
        return torch.stack([s.scores(own) for s, own in self._each(states)]).sum(dim=0)

    def advance(self, states: States, tokens: Tensor) -> States:
        return tuple(x for s, own in self._each(states) for x in s.advance(own, tokens))

    def final(self, states: States) -> Tensor:
        return torch.stack([s.final(own) for s, own in self._each(states)]).sum(dim=0)

    def _each(self, states: States) -> list[tuple[Scorer, States]]:
        begins = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        return [(s, states[b : b + n]) for s, b, n in zip(self.scorers, begins, self.sizes)]


def select(states: States, rows: Tensor) -> States:
    """The states of the hypotheses at `rows`, in their order; a row may occur several times."""
    return tuple(x[rows] for x in states)
