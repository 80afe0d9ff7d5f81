"""Which transcript tokens translate which English words: IBM model 1 (Brown et al., 1993) by EM, in numpy and numba.

K pairs, S source types, V target types. A source unit is a Chinese word of the dictionary, another character or a part
of a hyphenated English word; a target unit is a part of a word. Terms that both sides share (`bert`, `42`) need no
training. What the dictionary says is the prior of all others, counts that EM adds to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numba
import numpy as np

from lhotse_prep.bitext.dictionary import Dictionary
from lhotse_prep.bitext.stems import stem

RARE = 0  # id of target units that occur once or are unknown: nothing can be learned about them
SHARED_TERM = 0.5  # least probability that an English term of the transcript stays as it is
_PART = re.compile(r"\d+(?:\.\d+)+|[^\W_]+")


def units_of(token: str) -> list[str]:
    """Comparable parts of a token or word: split at hyphens, lower case, no punctuation, stems of English words."""
    return [stem(part) for part in _PART.findall(token.lower().replace("'s", "").replace("’s", ""))]


def is_term(unit: str) -> bool:
    """True for an English word or a number, False for a Chinese character."""
    return unit.isascii()


class WordTable:
    """t(source unit | target unit), with the source unigram u as background.

    Args:
      sources: tokens of each transcript.
      targets: words of each translation.
      dictionary: cuts transcripts into words; without it a character is a word, and nothing is known before training.
      prior_weight: number of occurrences of an English word that the dictionary's entry for it weighs as much as.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[str]],
        targets: Sequence[Sequence[str]],
        dictionary: Dictionary | None = None,
        prior_weight: float = 2.0,
    ) -> None:
        self._dictionary = dictionary
        source_counts = Counter(u for text in sources for _, u in self._source_units(text))
        target_counts = Counter(u for text in targets for word in text for u in units_of(word))
        self.source_ids = {u: i for i, u in enumerate(sorted(source_counts))}
        translations = dictionary.translations if dictionary else {}
        listed = {e for f in self.source_ids for e in translations.get(f, {})}
        kept = sorted(u for u, c in target_counts.items() if c > 1 or u in self.source_ids or u in listed)
        self.target_ids = {u: i for i, u in enumerate(kept, 1)}
        counts = np.array([source_counts[u] for u in self.source_ids], dtype=np.float64)
        self.unigram = (counts / max(1.0, counts.sum())).astype(np.float32)  # (S,)
        shape = (len(self.source_ids), len(self.target_ids) + 1)
        self.probs = np.zeros(shape, dtype=np.float32)  # (S, V), the sum of a column is at most 1
        self._shared = np.array(
            [(i, self.target_ids[u]) for u, i in self.source_ids.items() if u in self.target_ids], dtype=np.int64
        ).reshape(-1, 2)
        self._terms = np.array([is_term(u) and u in self.target_ids for u in self.source_ids], dtype=np.bool_)
        self._prior = self._prior_counts(translations, prior_weight)
        self._add_prior(self.probs, np.zeros(shape[1]))
        self._keep_shared_terms()
        self._trained = False

    def words(self, tokens: Sequence[str]) -> list[tuple[int, str]]:
        """(index of its first token, word) of each word of a transcript."""
        return self._dictionary.segment(tokens) if self._dictionary else list(enumerate(tokens))

    def _source_units(self, tokens: Sequence[str]) -> list[tuple[int, str]]:
        """(index of its token, unit) of each source unit; each character of a word stands for the word."""
        words = self.words(tokens)
        ends = [i for i, _ in words[1:]] + [len(tokens)]
        return [(t, unit) for (i, word), end in zip(words, ends) for t in range(i, end) for unit in units_of(word)]

    def _prior_counts(
        self, translations: Mapping[str, Mapping[str, float]], weight: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, columns and values of the counts that the dictionary stands for: `weight` for each target unit in it.

        By Bayes' rule, t(f | e) is proportional to the share of e among the translations of f, times u(f).
        """
        listed = [
            (i, self.target_ids[e], share)
            for f, i in self.source_ids.items()
            for e, share in translations.get(f, {}).items()
            if e in self.target_ids
        ]
        rows = np.array([i for i, _, _ in listed], dtype=np.int64)
        columns = np.array([e for _, e, _ in listed], dtype=np.int64)
        values = self.unigram[rows] * np.array([share for _, _, share in listed], dtype=np.float64)
        totals = np.bincount(columns, values, minlength=len(self.target_ids) + 1)
        return rows, columns, weight * values / np.maximum(totals[columns], 1e-12)

    def _add_prior(self, counts: np.ndarray, totals: np.ndarray) -> None:
        """Make `probs` of `counts`, whose columns summed to `totals` before discounts, and the dictionary's counts."""
        rows, columns, values = self._prior
        counts[rows, columns] += values
        totals = totals + np.bincount(columns, values, minlength=counts.shape[1])
        self.probs = counts / np.maximum(totals, 1e-6).astype(np.float32)
        self.probs[:, RARE] = 0.0

    def encode_source(self, tokens: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Unit ids of the tokens, and (len(tokens) + 1,) the index of each token's first unit and the end; both int32.

        The unit of a word is that of its first token. Units that are in no source text are left out.
        """
        units: list[list[str]] = [[] for _ in tokens]
        for i, unit in self._source_units(tokens):
            units[i].append(unit)
        return _encode(units, self.source_ids, None)

    def encode_target(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The same for English words; units that are rare or unknown get the id RARE."""
        return _encode([units_of(word) for word in words], self.target_ids, RARE)

    def train(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], num_steps: int, discount: float) -> None:
        """Run EM over pairs of encoded units.

        Args:
          pairs: unit ids of both sides.
          num_steps: EM steps.
          discount: subtracted from each expected count, so that a pair of units seen once gets no probability.
        """
        if not pairs:
            return
        source, source_starts = _concatenate([p[0] for p in pairs])
        target, target_starts = _concatenate([p[1] for p in pairs])
        if not self._trained:
            self.probs = np.maximum(self.probs, self.unigram[:, None])
            self._trained = True
        for _ in range(num_steps):
            counts = np.zeros_like(self.probs)
            _expected_counts(source, source_starts, target, target_starts, self.probs, self.unigram, counts)
            totals = counts.sum(axis=0)
            np.maximum(counts - discount, 0.0, out=counts)
            self._add_prior(counts, totals)
            self._keep_shared_terms()

    def _keep_shared_terms(self) -> None:
        """A term that occurs on both sides translates only itself, so that chance neighbours cannot replace it."""
        rows, columns = self._shared[:, 0], self._shared[:, 1]
        kept = np.maximum(self.probs[rows, columns], SHARED_TERM)
        self.probs[self._terms] = 0.0
        self.probs[rows, columns] = kept


def _encode(units: Sequence[Sequence[str]], ids: dict[str, int], unknown: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Unit ids, and where each token's units start; unknown units get the id `unknown`, or none if it is None."""
    encoded: list[int] = []
    starts = np.zeros(len(units) + 1, dtype=np.int32)
    for i, token_units in enumerate(units):
        for unit in token_units:
            unit_id = ids.get(unit, unknown)
            if unit_id is not None:
                encoded.append(unit_id)
        starts[i + 1] = len(encoded)
    return np.array(encoded, dtype=np.int32), starts


def _concatenate(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The arrays joined, and where each starts (one more: the total length)."""
    return np.concatenate(arrays), np.cumsum([0] + [len(a) for a in arrays]).astype(np.int64)


@numba.njit(cache=True)
def _expected_counts(source, source_starts, target, target_starts, probs, unigram, counts):
    """E step: add expected counts to `counts`, (S, V); the unigram competes as one more target unit (NULL)."""
    for k in range(len(source_starts) - 1):
        e0, e1 = target_starts[k], target_starts[k + 1]
        for i in range(source_starts[k], source_starts[k + 1]):
            f = source[i]
            total = unigram[f]
            for e in range(e0, e1):
                total += probs[f, target[e]]
            for e in range(e0, e1):
                counts[f, target[e]] += probs[f, target[e]] / total
