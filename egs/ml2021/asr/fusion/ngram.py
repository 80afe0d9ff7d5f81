"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1999, 4.1.6); unigrams back off to a uniform model."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from ml2021.asr.fusion.arpa import BOS, EOS, NEVER, ArpaModel, Ngram

FALLBACK = (0.5, 1.0, 1.5)  # discounts of n-grams seen once, twice, more often, if there are too few to estimate them


def train_ngram(sentences: Iterable[Sequence[str]], vocabulary: Iterable[str], order: int) -> ArpaModel:
    """Estimate a model.

    Args:
      sentences: sequences of tokens.
      vocabulary: all tokens; those that are in no sentence get a small probability.
      order: number of tokens in the longest n-grams.
    """
    probs: dict[Ngram, float] = {}  # {n-gram of any order: probability of its last token after the others}
    tables: list[dict[Ngram, tuple[float, float]]] = []
    backoffs: dict[Ngram, float] = {}
    vocabulary = {*vocabulary, EOS}
    for n, counts in enumerate(_adjusted_counts(sentences, order), 1):
        if n == 1:
            counts = {k: counts.get(k, 0) for k in sorted(counts.keys() | {(w,) for w in vocabulary}) if k != (BOS,)}
        discounts = _discounts(counts.values())
        totals: dict[Ngram, float] = defaultdict(float)
        taken: dict[Ngram, float] = defaultdict(float)
        for ngram, count in counts.items():
            totals[ngram[:-1]] += count
            taken[ngram[:-1]] += _discount(discounts, count)
        gammas = {c: taken[c] / totals[c] if totals[c] else 1.0 for c in totals}
        for ngram, count in counts.items():
            context = ngram[:-1]
            lower = probs[ngram[1:]] if n > 1 else 1.0 / len(counts)
            discounted = (count - _discount(discounts, count)) / totals[context] if count else 0.0
            probs[ngram] = discounted + gammas[context] * lower
        backoffs |= gammas if n > 1 else {}
        tables.append({ngram: (math.log10(probs[ngram]), 0.0) for ngram in counts})
    tables[0][(BOS,)] = (NEVER, 0.0)
    return ArpaModel(
        tuple({k: (p, math.log10(backoffs[k]) if k in backoffs else 0.0) for k, (p, _) in t.items()} for t in tables)
    )


def perplexity(model: ArpaModel, sentences: Iterable[Sequence[str]]) -> float:
    """Perplexity per token, where the end of a sentence counts as a token."""
    total, count = 0.0, 0
    for sentence in sentences:
        tokens = (BOS, *sentence, EOS)
        for i in range(1, len(tokens)):
            total += model.log10_prob(tokens[max(0, i - model.order + 1) : i], tokens[i])
        count += len(tokens) - 1
    return 10 ** (-total / max(1, count))


def _adjusted_counts(sentences: Iterable[Sequence[str]], order: int) -> list[dict[Ngram, int]]:
    """By order: for the longest n-grams the number of occurrences, for shorter ones that of different preceding tokens.

    Nothing precedes <s>, so n-grams that begin with it keep their number of occurrences.
    """
    raw: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        tokens = (BOS, *sentence, EOS)
        for n in range(1, order + 1):
            raw[n - 1].update(tokens[i : i + n] for i in range(len(tokens) - n + 1))
    counts: list[dict[Ngram, int]] = []
    for n in range(1, order):
        adjusted = Counter(ngram[1:] for ngram in raw[n])
        counts.append(dict(adjusted) | {k: c for k, c in raw[n - 1].items() if k[0] == BOS})
    return [*counts, dict(raw[-1])]


def _discounts(counts: Iterable[int]) -> tuple[float, float, float]:
    """Discounts of n-grams seen once, twice and more often (Chen and Goodman, 1999, eq. 26)."""
    seen = Counter(c for c in counts if 0 < c <= 4)
    n1, n2, n3, n4 = (seen[c] for c in range(1, 5))
    if min(n1, n2, n3, n4) == 0:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    estimates = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    fits = all(0 < d < c for c, d in enumerate(estimates, 1))
    return estimates if fits else FALLBACK


def _discount(discounts: tuple[float, float, float], count: int) -> float:
    return discounts[min(count, 3) - 1] if count else 0.0
