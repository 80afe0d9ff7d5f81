"""What every search returns for an utterance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """Recognised tokens.

    Args:
      tokens: ids.
      frames: the encoder frame at which each token was emitted, ascending.
      scores: probability of each token when it was emitted, 0..1.
    """

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    scores: tuple[float, ...]
