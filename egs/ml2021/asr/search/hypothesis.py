"""The result of a search for one utterance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """Recognised tokens.

    Args:
      tokens: token ids.
      frames: the encoder frame at which each token was emitted, ascending.
      scores: the probability of each token when it was emitted, 0..1.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    scores: tuple[float, ...]
