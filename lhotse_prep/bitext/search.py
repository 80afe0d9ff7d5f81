"""Monotone search for the pairs of a lecture: beads of English segments and stretches of transcript tokens.

T tokens, U source units, K English segments, S source types, V target types, C cells of the band.
Row k of the search is the position after k segments, column j the position after j tokens.
A bead is 1 to MAX_MERGE segments with one stretch, a run of segments without a stretch, or a stretch without a segment.
The log-odds of a boundary count half for the bead that ends there and half for the bead that starts there: the score of
a path is the same from either end.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

MAX_MERGE = 4  # segments in one bead
BACKGROUND = 0.3  # weight of the unigram in the probability of a unit
# Below 1, because model 1 spreads a token over all words of its bead and so rewards every cut through a true pair.
TRANSLATION_WEIGHT = 0.35
STRETCH = 5.0  # a bead has at most this many times the expected number of tokens
NULL_RUN = -3.5  # log-probability of segments without a stretch
NULL_WORD = -0.07  # added for each word of such segments
NULL_STRETCH = -3.5  # log-probability of a stretch without a segment
NULL_TOKEN = -0.05  # added for each token of such a stretch
NEVER = -1e30


class LengthPrior(NamedTuple):
    """Number of tokens for n English words: mean ratio * n, variance spread * ratio * n + 1."""

    ratio: float
    spread: float

    def log_prob(self, num_words: int) -> np.ndarray:
        """(L + 1,) float32, log-probability of 0..L tokens: a normal density, at most 8 nats below its peak."""
        mean = self.ratio * num_words
        variance = self.spread * mean + 1.0
        lengths = np.arange(int(STRETCH * mean) + 8, dtype=np.float64)
        log_probs = np.maximum(-((lengths - mean) ** 2) / (2 * variance), -8.0) - 0.5 * np.log(2 * np.pi * variance)
        log_probs[0] = -1e9  # a bead without tokens is a run without a stretch
        as_float32: np.ndarray = log_probs.astype(np.float32)
        return as_float32


class LectureUnits(NamedTuple):
    """Transcript and translation of a lecture as units, and what is known of them."""

    source: np.ndarray  # (U,), unit ids of the transcript
    source_starts: np.ndarray  # (T + 1,), the index of each token's first unit
    target: np.ndarray  # unit ids of the translation
    target_starts: np.ndarray  # (K + 1,), the index of each segment's first unit
    segment_words: np.ndarray  # (K,), number of words of each segment
    probs: np.ndarray  # (S, V), WordTable.probs
    unigram: np.ndarray  # (S,), WordTable.unigram
    token_odds: np.ndarray  # (T + 1,), log-odds of a boundary before each token
    segment_odds: np.ndarray  # (K + 1,), log-odds of a boundary before each segment

    def reversed(self) -> LectureUnits:
        """The lecture read from its end."""
        return self._replace(
            source=self.source[::-1].copy(),
            source_starts=self.source_starts[-1] - self.source_starts[::-1],
            target=self.target[::-1].copy(),
            target_starts=self.target_starts[-1] - self.target_starts[::-1],
            segment_words=self.segment_words[::-1].copy(),
            token_odds=self.token_odds[::-1].copy(),
            segment_odds=self.segment_odds[::-1].copy(),
        )


class Band(NamedTuple):
    """For each row the first and the last column to search, both (K + 1,), ascending."""

    low: np.ndarray
    high: np.ndarray

    def starts(self) -> np.ndarray:
        """(K + 2,), where each row's cells start in an array (C,) of all cells, and C."""
        starts: np.ndarray = np.concatenate([[0], np.cumsum(self.high - self.low + 1)]).astype(np.int64)
        return starts


class _Priors(NamedTuple):
    """Log-probabilities of the number of tokens; those for n words are values[starts[n]:starts[n + 1]]."""

    values: np.ndarray
    starts: np.ndarray


class _Row(NamedTuple):
    """Columns low..high of one row of the search."""

    score: np.ndarray  # best log-probability so far
    back: np.ndarray  # the column that the best bead starts from
    kind: np.ndarray  # its number of segments; negative without a stretch, 0 without a segment
    low: int
    high: int


class Cells(NamedTuple):
    """The best paths from the beginning of the lecture to each cell of the band, all (C,)."""

    score: np.ndarray  # float32
    back: np.ndarray
    kind: np.ndarray


def search(
    lecture: LectureUnits, length_prior: LengthPrior, band: Band
) -> tuple[list[tuple[int, int, int, int]], Cells]:
    """Find the best path of beads by dynamic programming.

    Returns:
      Beads (first segment, end segment, first token, end token) from the beginning to the end of the lecture, and all
      cells. Segments without a stretch are a bead each.
    """
    cells = fill(lecture, length_prior, band)
    starts = band.starts()
    beads: list[tuple[int, int, int, int]] = []
    k, j = len(band.low) - 1, len(lecture.source_starts) - 1
    while k > 0 or j > 0:
        cell = starts[k] + j - band.low[k]
        i, kind = int(cells.back[cell]), int(cells.kind[cell])
        assert kind != _UNREACHED, "the band lost the path"
        beads += [(s - 1, s, j, j) for s in range(k, k + kind, -1)] if kind < 0 else [(k - kind, k, i, j)]
        k, j = k - abs(kind), i
    return beads[::-1], cells


_UNREACHED = -(2**15)


def fill(lecture: LectureUnits, length_prior: LengthPrior, band: Band) -> Cells:
    """The best paths from the beginning to all cells of a band."""
    num_segments = len(lecture.segment_words)
    max_words = int(lecture.segment_words.max(initial=1)) * MAX_MERGE
    priors = [length_prior.log_prob(n) for n in range(max_words + 1)]
    prior_starts = np.cumsum([0] + [len(p) for p in priors]).astype(np.int64)
    starts = band.starts()
    num_cells = int(starts[num_segments + 1])
    cells = Cells(
        np.full(num_cells, NEVER, dtype=np.float32),
        np.zeros(num_cells, dtype=np.int32),
        np.full(num_cells, _UNREACHED, dtype=np.int16),
    )
    _fill(lecture, _Priors(np.concatenate(priors), prior_starts), band, starts, cells)
    return cells


@numba.njit(cache=True)
def _segment_sums(lecture, u0, u1, segment, out):
    """out[u] = sum over the segment's target units e of t(source unit u | e), for u in u0..u1-1."""
    for u in range(u0, u1):
        total = np.float32(0.0)
        f = lecture.source[u]
        for e in range(lecture.target_starts[segment], lecture.target_starts[segment + 1]):
            total += lecture.probs[f, lecture.target[e]]
        out[u] = total


@numba.njit(cache=True)
def _gains(lecture, sums, num_units, first, last, out):
    """out[j - first] = weighted log-likelihood ratio of tokens first..j-1 to the background; `sums` by unit."""
    out[0] = 0.0
    for j in range(first, last):
        gain = 0.0
        for u in range(lecture.source_starts[j], lecture.source_starts[j + 1]):
            background = lecture.unigram[lecture.source[u]]
            gain += np.log(BACKGROUND + (1 - BACKGROUND) * sums[u] / (num_units * background))
        out[j + 1 - first] = out[j - first] + TRANSLATION_WEIGHT * gain


@numba.njit(cache=True)
def _row(cells, band, starts, k):
    part = slice(starts[k], starts[k + 1])
    return _Row(cells.score[part], cells.back[part], cells.kind[part], band.low[k], band.high[k])


@numba.njit(cache=True)
def _fill(lecture, priors, band, starts, cells):
    """Fill the cells row by row."""
    num_rows = len(band.low)
    low, high = band.low, band.high
    num_columns = len(lecture.source_starts)
    sums = np.zeros((MAX_MERGE, len(lecture.source)), dtype=np.float32)  # for the last MAX_MERGE segments
    merged = np.zeros(len(lecture.source), dtype=np.float32)
    gain = np.zeros(num_columns + 1)
    run_score = np.full(num_columns, NEVER)  # of the best path that ends in segments without a stretch, by column
    run_length = np.zeros(num_columns, dtype=np.int16)
    cells.score[0] = 0.0
    _skip_stretches(_row(cells, band, starts, 0), lecture.token_odds)
    for k in range(1, num_rows):
        s = k - 1
        here = _row(cells, band, starts, k)
        first = low[max(0, k - MAX_MERGE)]
        row = sums[s % MAX_MERGE]  # of all columns that a bead with this segment can reach
        u0 = lecture.source_starts[first]
        u1 = lecture.source_starts[high[min(num_rows - 1, s + MAX_MERGE)]]
        row[:] = 0.0
        _segment_sums(lecture, u0, u1, s, row)
        _skip_segment(here, _row(cells, band, starts, s), lecture, s, run_score, run_length)
        merged[lecture.source_starts[first] : lecture.source_starts[high[k]]] = 0.0
        num_words = 0
        for m in range(1, min(MAX_MERGE, k) + 1):
            start = k - m
            num_words += lecture.segment_words[start]
            num_units = max(1, lecture.target_starts[k] - lecture.target_starts[start])
            piece = sums[start % MAX_MERGE]
            for u in range(lecture.source_starts[first], lecture.source_starts[high[k]]):
                merged[u] += piece[u]
            _gains(lecture, merged, num_units, low[start], high[k], gain)
            prior = priors.values[priors.starts[num_words] : priors.starts[num_words + 1]]
            odds = 0.5 * (lecture.segment_odds[start] + lecture.segment_odds[k])
            _extend(here, _row(cells, band, starts, start), m, gain, prior, lecture.token_odds, odds)
        _skip_stretches(here, lecture.token_odds)


@numba.njit(cache=True)
def _skip_segment(here, before, lecture, s, run_score, run_length):
    """Update a row with the runs without a stretch that end after segment s."""
    open_odds, close_odds = 0.5 * lecture.segment_odds[s], 0.5 * lecture.segment_odds[s + 1]
    cost = NULL_WORD * lecture.segment_words[s]
    run_score[: here.low] = NEVER
    for j in range(here.low, here.high + 1):
        if before.low <= j <= before.high and before.score[j - before.low] + NULL_RUN + open_odds > run_score[j]:
            run_score[j] = before.score[j - before.low] + NULL_RUN + open_odds
            run_length[j] = 0
        run_score[j] += cost
        run_length[j] += 1
        value = run_score[j] + close_odds
        if value > here.score[j - here.low]:
            here.score[j - here.low], here.back[j - here.low], here.kind[j - here.low] = value, j, -run_length[j]


@numba.njit(cache=True)
def _extend(here, before, m, gain, prior, token_odds, odds):
    """Update a row with the beads of m segments, from the row before them, that end at each of its columns."""
    start_value = np.empty(before.high - before.low + 1)
    for i in range(before.low, before.high + 1):
        start_value[i - before.low] = before.score[i - before.low] - gain[i - before.low] + 0.5 * token_odds[i]
    for j in range(here.low, here.high + 1):
        best, best_i = NEVER, -1
        for i in range(max(before.low, j - len(prior) + 1), min(before.high, j - 1) + 1):
            value = start_value[i - before.low] + prior[j - i]
            if value > best:
                best, best_i = value, i
        if best_i >= 0:
            value = best + gain[j - before.low] + 0.5 * token_odds[j] + odds
            if value > here.score[j - here.low]:
                here.score[j - here.low], here.back[j - here.low], here.kind[j - here.low] = value, best_i, m


@numba.njit(cache=True)
def _skip_stretches(row, token_odds):
    """Update a row with stretches without a segment; one never follows another."""
    best, best_i = NEVER, -1
    for j in range(row.low, row.high + 1):
        arrived = row.score[j - row.low]
        value = best + NULL_STRETCH + NULL_TOKEN * j + 0.5 * token_odds[j]
        if best_i >= 0 and value > arrived:
            row.score[j - row.low], row.back[j - row.low], row.kind[j - row.low] = value, best_i, 0
        if arrived - NULL_TOKEN * j + 0.5 * token_odds[j] > best:
            best, best_i = arrived - NULL_TOKEN * j + 0.5 * token_odds[j], j
