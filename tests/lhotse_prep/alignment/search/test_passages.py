"""Passages of a text that are not said where they were placed; single errors are none."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lhotse_prep.alignment.search.passages import wrong_passages


def of_known(recognised: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """wrong_passages of words that the model can recognise."""
    return wrong_passages(recognised, np.ones(len(recognised), dtype=bool))


def test_words_that_the_model_cannot_write_say_nothing() -> None:
    """Foreign words in a row are no passage and take no recognised words with them; a passage goes on over them."""
    known = np.ones(600, dtype=bool)
    recognised = np.ones(600, dtype=bool)
    known[100:110] = known[115:125] = False
    recognised[~known] = False
    assert not wrong_passages(recognised, known).any()
    recognised[200:230] = False
    known[205:225:2] = False
    assert wrong_passages(recognised, known)[200:230].all()
    assert not wrong_passages(np.zeros(600, dtype=bool), np.zeros(600, dtype=bool)).any()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("part", "length"), [(0.97, 20), (0.9, 30), (0.7, 60), (0.6, 200)])
def test_a_passage_recognised_by_chance_is_told_from_the_others(seed: int, part: float, length: int) -> None:
    rng = np.random.default_rng(seed)
    is_wrong = np.zeros(1500, dtype=bool)
    begin = int(rng.integers(100, 1300))
    is_wrong[begin : begin + length] = True
    lost = of_known(rng.random(1500) < np.where(is_wrong, 0.2, part))
    assert lost[is_wrong].mean() >= (0.7 if part > 0.6 else 0.4)
    assert lost[~is_wrong].mean() <= 0.02


@pytest.mark.parametrize("run", range(1, 7))
def test_a_few_words_in_a_row_that_are_not_recognised_are_no_passage(run: int) -> None:
    recognised = np.ones(200, dtype=bool)
    recognised[50 : 50 + run] = False
    recognised[:run] = recognised[-run:] = False
    assert not of_known(recognised)[50 : 50 + run].any()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.3])
def test_there_are_none_where_the_model_recognises_hardly_anything(part: float) -> None:
    assert not of_known(np.random.default_rng(0).random(800) < part).any()


def test_no_words() -> None:
    assert len(of_known(np.zeros(0, dtype=bool))) == 0


@pytest.mark.parametrize("seed", range(30))
def test_the_states_are_the_most_probable_ones(seed: int) -> None:
    """Against all sequences of states of a short text after a long right one; a passage also costs its end."""
    rng = np.random.default_rng(seed)
    tail = rng.random(13) < rng.choice([0.05, 0.3, 0.6])
    recognised = np.concatenate([np.ones(300, dtype=bool), tail])
    lost = of_known(recognised)
    part = min(0.9, recognised[~lost].mean())
    yes, no = math.log(0.25 / part), math.log(0.75 / (1 - part))

    def score(states: tuple[int, ...]) -> float:
        changes = sum(a != b for a, b in zip((0, *states), (*states, 0)))
        return sum((yes if r else no) * s for r, s in zip(tail, states)) - 7 * changes

    best = max(itertools.product((0, 1), repeat=len(tail)), key=score)
    assert score(best) == pytest.approx(score(tuple(int(x) for x in lost[300:])))
    assert not lost[:280].any()
