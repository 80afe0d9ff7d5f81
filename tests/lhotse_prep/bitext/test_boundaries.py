"""Cohesion of tokens, and the regression that predicts sentence boundaries."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.bitext.boundaries import BoundaryModel, cohesion


def test_characters_of_a_word_cohere():
    text = list("我們看資料資料看我們模型我們資料")
    values = cohesion([text])[0]
    inside = [i for i in range(1, len(text)) if text[i] in "們料型"]
    across = [i for i in range(1, len(text)) if i not in inside]
    assert values[0] == 0
    assert min(values[i] for i in inside if text[i] != "型") > max(values[i] for i in across)
    assert values[text.index("型")] == 0  # occurs once


def test_cohesion_is_pointwise_mutual_information():
    texts = [list("甲乙甲乙"), list("丙丙")]
    assert cohesion(texts)[0][1] == pytest.approx(np.log(1.5 * 6 / (2 * 2)))


@pytest.mark.parametrize("seed", range(5))
def test_regression_finds_the_odds_that_made_the_labels(seed):
    rng = np.random.default_rng(seed)
    truth = {"long": 2.0, "short": -3.0, "none": -1.0}
    pauses = rng.choice(list(truth), 6000)
    labels = (rng.random(6000) < 1 / (1 + np.exp(-np.array([truth[p] for p in pauses])))).astype(float)
    labels[::7] = np.nan
    odds = BoundaryModel([[p] for p in pauses]).fit(labels)
    for name, value in truth.items():
        assert odds[list(pauses).index(name)] == pytest.approx(value, abs=0.4)


def test_labels_all_alike_stay_finite():
    assert np.isfinite(BoundaryModel([["a"], ["b"]]).fit(np.zeros(2))).all()
