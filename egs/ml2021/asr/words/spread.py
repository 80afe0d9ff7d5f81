"""Times for words that a recogniser gives none: through the speech of a window, by how long they take to say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.text.characters import is_han

SPREAD_SCORE = 0.1  # at most, of a word whose times are only spread
_LETTERS = 2.5  # letters of other scripts that take as long to say as a Han character


def spread_words(words: Sequence[str], regions: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Start and end in seconds of words that follow one another through all regions.

    A word that begins at a pause begins after it, and one that ends at a pause ends before it.

    Args:
      words: normalised.
      regions: (R, 2) stretches of speech in seconds, ascending and disjoint; at least one.
    """
    if not words:
        return []
    lengths = regions[:, 1] - regions[:, 0]
    spoken = np.concatenate([[0.0], np.cumsum(lengths)])  # seconds of speech before each region
    weights = [1.0 if is_han(word) else max(1.0, len(word) / _LETTERS) for word in words]
    edges = np.concatenate([[0.0], np.cumsum(weights)]) / sum(weights) * spoken[-1]

    def moments(edges: NDArray[np.float64], nudge: float) -> NDArray[np.float64]:
        index = np.searchsorted(spoken, edges + nudge * spoken[-1], side="right") - 1
        index = np.clip(index, 0, len(lengths) - 1)
        inside: NDArray[np.float64] = regions[index, 0] + np.clip(edges - spoken[index], 0.0, lengths[index])
        return inside

    starts, ends = moments(edges[:-1], 1e-9), moments(edges[1:], -1e-9)
    return list(zip(starts.tolist(), np.maximum(starts, ends).tolist()))
