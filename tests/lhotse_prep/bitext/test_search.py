"""The bitext search compared with all possible paths, on inputs small enough to enumerate them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lhotse_prep.bitext import search as bitext_search
from lhotse_prep.bitext.margins import margins
from lhotse_prep.bitext.search import Band, LectureUnits, LengthPrior, fill, search


class Problem:
    """A small random lecture: tokens of 0 to 2 units, segments of 1 to 3 words of one unit each."""

    def __init__(self, seed: int, num_tokens: int, num_segments: int) -> None:
        rng = np.random.default_rng(seed)
        self.source_starts = np.concatenate([[0], np.cumsum(rng.integers(0, 3, num_tokens))]).astype(np.int64)
        self.segment_words = rng.integers(1, 4, num_segments)
        self.target_starts = np.concatenate([[0], np.cumsum(self.segment_words)]).astype(np.int64)
        self.source = rng.integers(0, 5, self.source_starts[-1]).astype(np.int32)
        self.target = rng.integers(0, 4, self.target_starts[-1]).astype(np.int32)
        self.probs = (rng.random((5, 4)) ** 3).astype(np.float32)
        self.unigram = rng.dirichlet(np.ones(5)).astype(np.float32)
        self.prior = LengthPrior(1.5, 2.0)
        self.token_odds = rng.normal(0, 2, num_tokens + 1)
        self.segment_odds = rng.normal(0, 2, num_segments + 1)
        self.num_tokens, self.num_segments = num_tokens, num_segments

    def full_band(self):
        rows = self.num_segments + 1
        return Band(np.zeros(rows, dtype=np.int64), np.full(rows, self.num_tokens, dtype=np.int64))

    def units(self):
        return LectureUnits(
            self.source,
            self.source_starts,
            self.target,
            self.target_starts,
            self.segment_words,
            self.probs,
            self.unigram,
            self.token_odds,
            self.segment_odds,
        )

    def search(self, band=None):
        return search(self.units(), self.prior, band or self.full_band())[0]

    def bead_score(self, k0, k1, i, j):
        """The score of a bead as it is defined; -inf if such a bead is not allowed."""
        token_odds = (self.token_odds[i] + self.token_odds[j]) / 2
        segment_odds = (self.segment_odds[k0] + self.segment_odds[k1]) / 2
        num_words = int(self.segment_words[k0:k1].sum())
        if k0 == k1:
            return bitext_search.NULL_STRETCH + bitext_search.NULL_TOKEN * (j - i) + token_odds
        if i == j:
            return bitext_search.NULL_RUN + bitext_search.NULL_WORD * num_words + segment_odds
        lengths = self.prior.log_prob(num_words)
        if k1 - k0 > bitext_search.MAX_MERGE or j - i >= len(lengths):
            return -math.inf
        units = self.source[self.source_starts[i] : self.source_starts[j]]
        words = self.target[self.target_starts[k0] : self.target_starts[k1]]
        gain = 0.0
        for f in units:
            translated = sum(float(self.probs[f, e]) for e in words) / max(1, len(words))
            background = bitext_search.BACKGROUND
            gain += math.log(background + (1 - background) * translated / float(self.unigram[f]))
        return bitext_search.TRANSLATION_WEIGHT * gain + float(lengths[j - i]) + token_odds + segment_odds

    def path_score(self, beads):
        """The sum over beads; neighbouring segments without a stretch are one bead."""
        merged = []
        for k0, k1, i, j in beads:
            if merged and i == j and merged[-1][2:] == [i, i]:
                merged[-1][1] = k1
            else:
                merged.append([k0, k1, i, j])
        return sum(self.bead_score(*bead) for bead in merged)

    def best_path_score(self, band=None):
        """The best score of all paths, by recursion over row, column and whether the last bead had no segment."""
        low, high = band or self.full_band()
        memory = {}

        def best(k, j, after_null):
            if not low[k] <= j <= high[k]:
                return -math.inf
            if k == 0 and j == 0:
                return -math.inf if after_null else 0.0
            if (k, j, after_null) not in memory:
                if after_null:
                    options = [best(k, i, False) + self.bead_score(k, k, i, j) for i in range(j)]
                else:
                    options = [
                        max(best(a, i, False), best(a, i, True)) + self.bead_score(a, k, i, j)
                        for a in range(k)
                        for i in range(j + 1)
                    ]
                memory[k, j, after_null] = max(options, default=-math.inf)
            return memory[k, j, after_null]

        return max(best(self.num_segments, self.num_tokens, null) for null in (False, True))


@pytest.mark.parametrize("seed", range(40))
def test_finds_the_best_of_all_paths(seed):
    problem = Problem(seed, num_tokens=3 + seed % 9, num_segments=1 + seed % 6)
    beads = problem.search()
    assert beads[0][0] == 0 and beads[0][2] == 0
    assert beads[-1][1] == problem.num_segments and beads[-1][3] == problem.num_tokens
    for before, bead in zip(beads, beads[1:]):
        assert (bead[0], bead[2]) == (before[1], before[3])
    assert problem.path_score(beads) == pytest.approx(problem.best_path_score(), abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_finds_the_best_path_inside_a_band(seed):
    problem = Problem(100 + seed, num_tokens=12, num_segments=6)
    center = np.arange(7) * 2
    band = Band(np.maximum(0, center - 3), np.minimum(12, center + 3))
    beads = problem.search(band)
    for k0, k1, i, j in beads:
        assert band[0][k0] <= i <= band[1][k0] and band[0][k1] <= j <= band[1][k1]
    assert problem.path_score(beads) == pytest.approx(problem.best_path_score(band), abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_the_best_path_is_as_good_from_the_end(seed):
    problem = Problem(seed, num_tokens=12, num_segments=6)
    lecture, band = problem.units(), problem.full_band()
    forward, backward = (fill(x, problem.prior, band).score[-1] for x in (lecture, lecture.reversed()))
    assert forward == pytest.approx(backward, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_a_margin_is_never_more_than_the_price_of_leaving_both_sides_unpaired(seed):
    problem = Problem(seed, num_tokens=12, num_segments=6)
    band = problem.full_band()
    beads, cells = search(problem.units(), problem.prior, band)
    values = margins(problem.units(), problem.prior, band, beads, cells)
    for (k0, k1, i, j), margin in zip(beads, values):
        if k0 == k1 or i == j:
            assert margin == 0
        else:
            unpaired = problem.bead_score(k0, k1, i, i) + problem.bead_score(k1, k1, i, j)
            assert 0 <= margin <= problem.bead_score(k0, k1, i, j) - unpaired + 1e-3


def test_segments_without_units_are_searched():
    problem = Problem(3, num_tokens=6, num_segments=3)
    problem.target_starts[:] = 0  # segments that are only punctuation
    problem.target = problem.target[:0]
    assert problem.search()[-1][1::2] == (3, 6)


def test_length_prior_is_highest_at_the_expected_length_and_bounded_below():
    log_probs = LengthPrior(2.0, 1.0).log_prob(10)
    assert log_probs[1:].argmax() + 1 == 20
    assert log_probs[1:].max() - log_probs[1:].min() <= 8.0 + 1e-5
    assert log_probs[0] < -1e8
