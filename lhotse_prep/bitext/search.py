"""Monotone search for the pairs of a lecture: beads of English segments and stretches of transcript tokens.

T tokens, K English segments. Row k of the search is the place after k segments; its column j the place after j tokens.
A bead is 1 to MAX_MERGE segments with one stretch, a segment without a stretch, or a stretch without a segment.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

MAX_MERGE = 4
BACKGROUND = 0.3  # part of the background in the probability of a token
# Model 1 spreads a token over all words of its bead, and so gains by every cut through a pair: it is held back.
TRANSLATION_WEIGHT = 0.5
STRETCH = 5.0  # a bead has at most this many times the expected number of tokens
NULL_SEGMENT = -9.0  # log-probability of a segment without a stretch
NULL_STRETCH = -9.0  # of a stretch without a segment, and for each of its tokens
NULL_TOKEN = -0.3


class LengthPrior(NamedTuple):
    """How many tokens come to an English segment of n words: about ratio * n, with variance spread * ratio * n."""

    ratio: float
    spread: float

    def log_prob(self, num_words: int) -> np.ndarray:
        """Log-probability of 0..L tokens (a normal density, not below -8 under its peak)."""
        mean = self.ratio * num_words
        variance = self.spread * mean + 1.0
        lengths = np.arange(int(STRETCH * mean) + 8, dtype=np.float64)
        result = np.maximum(-((lengths - mean) ** 2) / (2 * variance), -8.0) - 0.5 * np.log(2 * np.pi * variance)
        result[0] = -1e9
        return result.astype(np.float32)


def search(
    source: np.ndarray,
    source_starts: np.ndarray,
    target: np.ndarray,
    target_starts: np.ndarray,
    segment_words: np.ndarray,
    probs: np.ndarray,
    unigram: np.ndarray,
    length_prior: LengthPrior,
    token_odds: np.ndarray,
    segment_odds: np.ndarray,
    band: tuple[np.ndarray, np.ndarray],
) -> list[tuple[int, int, int, int]]:
    """
    Args:
      source: unit ids, (U,); source_starts: (T + 1,), the first unit of each token.
      target: unit ids; target_starts: (K + 1,), the first unit of each segment.
      segment_words: (K,), words of each segment.
      probs, unigram: of WordTable, (S, V) and (S,).
      token_odds: (T + 1,), log-odds of a boundary before each token; segment_odds: (K + 1,), the same by segment.
      band: for each row the first and the last column searched, both (K + 1,), ascending.
    Returns:
      Beads (first segment, end segment, first token, end token) from the beginning to the end of the lecture.
    """
    num_rows = len(segment_words) + 1
    most = int(segment_words.max(initial=1)) * MAX_MERGE
    priors = [length_prior.log_prob(n) for n in range(most + 1)]
    prior_starts = np.cumsum([0] + [len(p) for p in priors]).astype(np.int64)
    width = int((band[1] - band[0]).max()) + 1
    back = np.zeros((num_rows, width), dtype=np.int32)
    kind = np.full((num_rows, width), -1, dtype=np.int8)
    _fill(
        source,
        source_starts,
        target,
        target_starts,
        segment_words,
        probs,
        unigram,
        np.concatenate(priors),
        prior_starts,
        token_odds,
        segment_odds,
        band[0],
        band[1],
        back,
        kind,
    )
    beads = []
    k, j = num_rows - 1, len(source_starts) - 1
    while k > 0 or j > 0:
        i, m = int(back[k, j - band[0][k]]), int(kind[k, j - band[0][k]])
        assert m >= 0, "the band lost the path"
        beads.append((k - m, k, i, j))
        k, j = k - m, i
    return beads[::-1]


@numba.njit(cache=True)
def _segment_sums(source, u0, u1, target, e0, e1, probs, out):  # type: ignore[no-untyped-def]
    """out[u] = sum over the target units e0..e1 of t(source unit u | e)."""
    for u in range(u0, u1):
        total = np.float32(0.0)
        f = source[u]
        for e in range(e0, e1):
            total += probs[f, target[e]]
        out[u] = total


@numba.njit(cache=True)
def _gains(sums, num_units, source, source_starts, unigram, first, last, out):  # type: ignore[no-untyped-def]
    """out[j - first] = weighted log-likelihood ratio of tokens first..j-1 against the background."""
    out[0] = 0.0
    for j in range(first, last):
        gain = 0.0
        for u in range(source_starts[j], source_starts[j + 1]):
            background = unigram[source[u]]
            gain += np.log(BACKGROUND + (1 - BACKGROUND) * sums[u] / (num_units * background))
        out[j + 1 - first] = out[j - first] + TRANSLATION_WEIGHT * gain


@numba.njit(cache=True)
def _fill(  # type: ignore[no-untyped-def]
    source,
    source_starts,
    target,
    target_starts,
    segment_words,
    probs,
    unigram,
    priors,
    prior_starts,
    token_odds,
    segment_odds,
    low,
    high,
    back,
    kind,
):
    num_rows, width = back.shape
    score = np.full((num_rows, width), -1e30, dtype=np.float32)
    sums = np.zeros((MAX_MERGE, len(source)), dtype=np.float32)  # of the last MAX_MERGE segments
    merged = np.zeros(len(source), dtype=np.float32)
    gain = np.zeros(len(source_starts) + 1)
    score[0, 0] = 0.0
    _skip_stretches(score[0], back[0], kind[0], low[0], high[0], token_odds)
    for k in range(1, num_rows):
        s = k - 1
        first = low[max(0, k - MAX_MERGE)]
        row = sums[s % MAX_MERGE]  # over all columns of the rows that a bead with this segment can touch
        u0 = source_starts[low[max(0, k - MAX_MERGE)]]
        u1 = source_starts[high[min(num_rows - 1, s + MAX_MERGE)]]
        row[:] = 0.0
        _segment_sums(source, u0, u1, target, target_starts[s], target_starts[k], probs, row)
        here = score[k]
        for j in range(low[k], high[k] + 1):  # the segment has no stretch
            if low[s] <= j <= high[s] and score[s, j - low[s]] + NULL_SEGMENT > here[j - low[k]]:
                here[j - low[k]] = score[s, j - low[s]] + NULL_SEGMENT
                back[k, j - low[k]], kind[k, j - low[k]] = j, 1
        merged[source_starts[first] : source_starts[high[k]]] = 0.0
        num_words = 0
        for m in range(1, min(MAX_MERGE, k) + 1):
            start = k - m
            num_words += segment_words[start]
            num_units = max(1, target_starts[k] - target_starts[start])
            a = low[start]
            piece = sums[start % MAX_MERGE]
            for u in range(source_starts[first], source_starts[high[k]]):
                merged[u] += piece[u]
            _gains(merged, num_units, source, source_starts, unigram, a, high[k], gain)
            prior = priors[prior_starts[num_words] : prior_starts[num_words + 1]]
            _extend(
                here,
                score[start],
                gain,
                prior,
                low[k],
                high[k],
                a,
                high[start],
                token_odds,
                segment_odds[k],
                m,
                back[k],
                kind[k],
            )
        _skip_stretches(here, back[k], kind[k], low[k], high[k], token_odds)


@numba.njit(cache=True)
def _extend(  # type: ignore[no-untyped-def]
    here, before, gain, prior, low, high, start_low, start_high, token_odds, segment_odds, m, back, kind
):
    """Beads of m segments that end at each column of a row."""
    for j in range(low, high + 1):
        best, best_i = np.float32(-1e30), -1
        for i in range(max(start_low, j - len(prior) + 1), min(start_high, j - 1) + 1):
            value = before[i - start_low] - gain[i - start_low] + prior[j - i]
            if value > best:
                best, best_i = value, i
        if best_i >= 0:
            value = best + gain[j - start_low] + token_odds[j] + segment_odds
            if value > here[j - low]:
                here[j - low], back[j - low], kind[j - low] = value, best_i, m


@numba.njit(cache=True)
def _skip_stretches(here, back, kind, low, high, token_odds):  # type: ignore[no-untyped-def]
    """Stretches without a segment, inside one row; none follows another."""
    best, best_i = -1e30, -1
    for j in range(low, high + 1):
        arrived = here[j - low]
        value = best + NULL_STRETCH + NULL_TOKEN * j + token_odds[j]
        if best_i >= 0 and value > arrived:
            here[j - low], back[j - low], kind[j - low] = value, best_i, 0
        if arrived - NULL_TOKEN * j > best:
            best, best_i = arrived - NULL_TOKEN * j, j
