"""How likely it is that a sentence ends between two tokens: logistic regression on the tokens nearby and the pause.

The regression is fitted to the boundaries of the last bitext search and guides the next one.
T tokens or words of a text, N possible boundaries of all texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lhotse_prep.bitext.sentence_starts import shape

PAUSE_EDGES = (0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)  # seconds
_EDGE = "|"  # stands for the tokens before the first and after the last
MAX_COHESION = 5.0  # nats


def cohesion(texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """How much more often than by chance each token follows the one before it (pointwise mutual information).

    High between the characters of one word, low across a sentence boundary. A pair that occurs only once counts as 0.

    Returns:
      For each text an array (T,), in nats from 0 to MAX_COHESION; its first element is 0.
    """
    tokens = Counter(t for text in texts for t in text)
    pairs = Counter(pair for text in texts for pair in zip(text, text[1:]))
    total = sum(tokens.values())
    cohesions = []
    for text in texts:
        values = np.zeros(len(text))
        for i, (a, b) in enumerate(zip(text, text[1:]), 1):
            if pairs[a, b] > 1:
                values[i] = np.log((pairs[a, b] - 0.5) * total / (tokens[a] * tokens[b]))
        cohesions.append(np.clip(values, 0.0, MAX_COHESION))
    return cohesions


def transcript_features(
    tokens: Sequence[str], pauses: Sequence[float | None] | None, cohesions: np.ndarray
) -> list[list[str]]:
    """Features of the boundary before each token.

    Args:
      tokens: the transcript; the two tokens on either side of a boundary become features.
      pauses: seconds of silence before each token, None where unknown; or None if no pause is known.
      cohesions: (T,), from `cohesion`.
    Returns:
      For each token the names of its features, the same number for every token.
    """
    padded = [_EDGE, _EDGE, *tokens, _EDGE, _EDGE]
    rows = []
    for i in range(len(tokens)):
        a, b, c, d = padded[i : i + 4]
        pause = None if pauses is None else pauses[i]
        bucket = "?" if pause is None else str(int(np.searchsorted(PAUSE_EDGES, pause, side="right")))
        rows.append([f"-1{b}", f"+1{c}", f"-2{a}{b}", f"+2{c}{d}", f"-+{b}{c}", f"p{bucket}", f"c{int(cohesions[i])}"])
    return rows


def translation_features(words: Sequence[str], starts: Sequence[int]) -> list[list[str]]:
    """Features of each possible sentence start in an English text; `starts` holds the indices of their words."""
    rows = []
    for s in starts:
        before, word = (words[s - 1] if s else _EDGE), words[s]
        following = words[s + 1].lower() if s + 1 < len(words) else _EDGE
        mark = before[-1] if before[-1] in ".?!,:;" else ""
        rows.append(
            [
                f"-1{before.lower()}",
                f"+1{word}",
                f"+2{word} {following}",
                f"m{mark}",
                f"s{shape(word)}{shape(before)}{mark}",
            ]
        )
    return rows


class BoundaryModel:
    """Logistic regression: log-odds of a boundary are a sum of feature weights, fitted by Adagrad with an L2 penalty.

    Args:
      rows: for each of N places the names of its features, the same number for every place.
    """

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        names: dict[str, int] = {}
        width = len(rows[0]) if rows else 0
        flat = [names.setdefault(f, len(names)) for row in rows for f in row]
        self.features = np.array(flat, dtype=np.int64).reshape(len(rows), width)
        self.num_features = len(names)

    def fit(self, labels: np.ndarray, l2: float = 5.0, num_steps: int = 80) -> np.ndarray:
        """
        Args:
          labels: (N,), 1 for a boundary, 0 for none, NaN for unknown (left out of the fit).
          l2: weight of the penalty on squared weights.
          num_steps: Adagrad steps, each over all known labels.
        Returns:
          (N,), the fitted log-odds.
        """
        known = ~np.isnan(labels)
        features, y = self.features[known], labels[known]
        weights = np.zeros(self.num_features)
        mean = np.clip(y.mean() if len(y) else 0.1, 1e-3, 1 - 1e-3)
        bias = float(np.log(mean / (1 - mean)))
        squares = np.full(self.num_features, 1e-6)
        flat = features.ravel()
        for _ in range(num_steps):
            error = 1 / (1 + np.exp(-(bias + weights[features].sum(axis=1)))) - y
            gradient = np.bincount(flat, np.repeat(error, features.shape[1]), self.num_features) + l2 * weights
            squares += gradient**2
            weights -= 0.5 * gradient / np.sqrt(squares)
        log_odds: np.ndarray = bias + weights[self.features].sum(axis=1)
        return log_odds
