"""Words without times follow one another through the speech."""

from __future__ import annotations

import numpy as np
import pytest

from ml2021.asr.words.spread import spread_words


@pytest.mark.parametrize("seed", range(20))
def test_words_fill_the_speech_in_proportion_to_their_lengths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    regions = np.cumsum(rng.uniform(0.05, 2, size=2 * rng.integers(1, 6))).reshape(-1, 2)
    words = rng.choice(["我", "a", "attention", "self-supervised"], size=rng.integers(1, 20)).tolist()
    weights = np.array([max(1.0, len(w) / 2.5) for w in words])
    times = np.array(spread_words(words, regions))
    inside = np.minimum(regions[:, 1], times[:, 1:]) - np.maximum(regions[:, 0], times[:, :1])  # (W, R)
    speech = inside.clip(0).sum(axis=1)
    np.testing.assert_allclose(speech, weights / weights.sum() * np.diff(regions).sum(), atol=1e-6)
    assert times[0, 0] == pytest.approx(regions[0, 0]) and times[-1, 1] == pytest.approx(regions[-1, 1])
    assert (times[:, 0] <= times[:, 1]).all() and (times[1:, 0] >= times[:-1, 1] - 1e-9).all()


def test_words_begin_after_pauses_and_end_before_them() -> None:
    regions = np.array([[1.0, 2.0], [4.0, 5.0]])
    assert spread_words(["我", "們", "來", "講"], regions) == [(1.0, 1.5), (1.5, 2.0), (4.0, 4.5), (4.5, 5.0)]
    assert spread_words([], regions) == []
