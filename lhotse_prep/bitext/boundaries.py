"""How likely it is that a sentence ends between two tokens: logistic regression on the tokens nearby and the pause.

The regression is fitted to the boundaries of the last bitext search and guides the next one.
T tokens or words of a text, N possible boundaries of all texts.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lhotse_prep.bitext.sentence_starts import shape

PAUSE_EDGES = (0.02, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)  # seconds
# Chinese words that open a sentence or clause and never end one, and particles that often end one; in both scripts.
OPENERS = set(
    re.findall(
        r"\w+",
        """
        那 那麼 那么 所以 因此 因為 因为 但 但是 可是 不過 不过 而 而且 並且 并且 如果 假設 假设 假如 要是 雖然 虽然
        儘管 尽管 除非 除了 不管 為了 为了 然後 然后 接下來 接下来 首先 其實 其实 當然 当然 總之 总之 另外 此外 例如
        比如 比如說 比如说 譬如 譬如說 譬如说 也就是 也就是說 也就是说 換句話說 换句话说 由於 由于 既然 只要 只有 甚至
        """,
    )
)
PARTICLES = set("嗎吗呢吧啊啦喔哦囉呀")
_EDGE = "|"  # stands for the tokens before the first and after the last
MAX_COHESION = 5.0  # nats
INSIDE_WORD = 2.0  # nats; how much less likely a sentence ends inside a word of the dictionary
OPENER = 1.5  # nats; how much more likely it ends after a particle, and how much less after an opener


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
    tokens: Sequence[str],
    words: Sequence[tuple[int, str]],
    pauses: Sequence[float | None] | None,
    cohesions: np.ndarray,
) -> list[list[str]]:
    """Features of the boundary before each token.

    Args:
      tokens: the transcript; the two tokens on either side of a boundary become features.
      words: (index of its first token, word) of each word; a boundary inside a word has other features.
      pauses: seconds of silence before each token, None where unknown; or None if no pause is known.
      cohesions: (T,), from `cohesion`.
    Returns:
      For each token the names of its features, the same number for every token.
    """
    neighbours = {i: (before, word) for (_, before), (i, word) in zip([(0, _EDGE), *words], words)}
    closings = _closings(words)
    padded = [_EDGE, _EDGE, *tokens, _EDGE, _EDGE]
    rows = []
    for i in range(len(tokens)):
        a, b, c, d = padded[i : i + 4]
        pause = None if pauses is None else pauses[i]
        bucket = "?" if pause is None else str(int(np.searchsorted(PAUSE_EDGES, pause, side="right")))
        before, after = neighbours.get(i, ("", ""))
        rows.append(
            [
                f"-1{b}",
                f"+1{c}",
                f"-2{a}{b}",
                f"+2{c}{d}",
                f"-+{b}{c}",
                f"-w{before}",
                f"+w{after}",
                f"k{closings.get(i, 0)}",
                f"p{bucket}",
                f"c{int(cohesions[i])}",
            ]
        )
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


def first_word_odds(words: Sequence[tuple[int, str]], num_tokens: int) -> np.ndarray:
    """(num_tokens + 1,) what words say of a boundary before each token, before anything is learned; 0 at the end.

    Args:
      words: (index of its first token, word) of each word.
      num_tokens: of the transcript.
    """
    odds = np.append(np.full(num_tokens, -INSIDE_WORD), 0.0)
    odds[[i for i, _ in words]] = 0.0
    for i, closing in _closings(words).items():
        odds[i] = OPENER * closing
    return odds


def _closings(words: Sequence[tuple[int, str]]) -> dict[int, int]:
    """{index of its first token: 1 after a particle, -1 after an opener or an opener and particles} of words."""
    closings = {}
    last = 0
    for (_, before), (i, _) in zip(words, words[1:]):
        last = -1 if before in OPENERS or (last < 0 and before in PARTICLES) else int(before in PARTICLES)
        if last:
            closings[i] = last
    return closings


class BoundaryModel:
    """Logistic regression: log-odds of a boundary are a sum of feature weights, fitted by Adagrad with an L2 penalty.

    Args:
      rows: for each of N places the names of its features, the same number for every place; they are not kept.
    """

    def __init__(self, rows: Iterable[Sequence[str]]) -> None:
        names: dict[str, int] = {}
        flat, num_rows = array("q"), 0
        for row in rows:
            flat.extend(names.setdefault(f, len(names)) for f in row)
            num_rows += 1
        width = len(flat) // num_rows if num_rows else 0
        self.features = np.array(flat, dtype=np.int64).reshape(num_rows, width)
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
