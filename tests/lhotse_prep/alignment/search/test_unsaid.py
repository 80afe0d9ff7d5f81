"""Units that are probably not spoken: only where a transcript has many, amid units that are recognised."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lhotse_prep.alignment.search.align import align
from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.units_to_words import unsaid_words
from tests.lhotse_prep.alignment.search.test_align import spoken_log_probs

COSTS = {"star_penalty": 2.0, "star_opening": 3.0, "skip_cost": 4.0, "mismatch_penalty": 4.5}
HALF_HEARD = 39  # this unit has a log-prob of -3 in each pause, so that it is cheaper to time it than to leave it out
NEVER_HEARD = 38
NUM_SPOKEN = 400


def aligned(
    inserted: dict[int, list[int]], num_weak: int = 0, distance: int | None = 25
) -> tuple[Alignment, NDArray[np.int64]]:
    """A text of NUM_SPOKEN units, some of which are hardly recognised, with units that nobody says before some."""
    spoken = np.random.default_rng(0).integers(1, 30, NUM_SPOKEN).tolist()
    log_probs = spoken_log_probs([0, *(x for unit in spoken for x in (unit, 0))], 40)
    log_probs[::2, HALF_HEARD] = -3.0
    weak = 1 + 2 * np.arange(10, 10 + num_weak)
    log_probs[weak, spoken[10 : 10 + num_weak]] = -3.5
    units = [u for i, unit in enumerate(spoken) for u in (*inserted.get(i, []), unit)]
    return align(log_probs, np.array(units), **COSTS, distance=distance), np.array(units)


MANY = {i: [NEVER_HEARD] for i in range(100, 300, 20)}  # ten


def test_a_unit_that_is_half_heard_is_not_spoken_if_many_others_are_not() -> None:
    alone, units = aligned({50: [HALF_HEARD]})
    assert (alone.start >= 0).all() and not alone.unsaid.any()
    amid, units = aligned({**MANY, 50: [HALF_HEARD]})
    assert amid.start[units == HALF_HEARD] >= 0 and (amid.start[units == NEVER_HEARD] < 0).all()
    assert np.array_equal(amid.unsaid, (units == HALF_HEARD) | (units == NEVER_HEARD))
    not_asked, _ = aligned({**MANY, 50: [HALF_HEARD]}, distance=None)
    assert not not_asked.unsaid.any()


@pytest.mark.parametrize("others", [{200: 1, 220: 1}, {200: 5, 220: 5, 240: 5}])
def test_few_places_are_not_many(others: dict[int, int]) -> None:
    few, units = aligned({50: [HALF_HEARD], **{at: [NEVER_HEARD] * count for at, count in others.items()}})
    assert (few.start[units == NEVER_HEARD] < 0).all() and not few.unsaid.any()


@pytest.mark.parametrize(("num_weak", "is_many"), [(5, True), (20, False)])
def test_where_many_units_are_hardly_recognised_others_are_left_out_for_that(num_weak: int, is_many: bool) -> None:
    path, units = aligned({**MANY, 350: [HALF_HEARD]}, num_weak)
    assert (path.start[units == NEVER_HEARD] < 0).all() and (path.start >= 0).sum() == NUM_SPOKEN + 1
    assert path.unsaid[units == HALF_HEARD] == is_many


def test_a_passage_is_no_matter_of_words() -> None:
    path, units = aligned({**MANY, 50: [HALF_HEARD] * 20, 320: [HALF_HEARD] * 2})
    passage = np.arange(50, 70)
    assert (units[passage] == HALF_HEARD).all()
    assert not path.unsaid[passage[9:-9]].any() and path.unsaid[units == HALF_HEARD][-2:].all()
    one_long_run, _ = aligned({50: [HALF_HEARD], 200: [NEVER_HEARD] * 12})
    assert not one_long_run.unsaid.any()


def words_of(units: NDArray[np.int64], sizes: list[int]) -> list[list[int]]:
    return [x.tolist() for x in np.split(units, np.cumsum(sizes)[:-1])]


def test_words_of_which_more_than_half_is_not_spoken() -> None:
    path, units = aligned({**MANY, 50: [HALF_HEARD]})
    for sizes, expected in (
        ([50, 1, 1, len(units) - 52], [False, True, False, False]),
        ([50, 2, len(units) - 52], [False, False, False]),  # a half is not enough
        ([0, 50, 0, 1, 0, len(units) - 51, 0], [False] * 3 + [True] + [False] * 3),
    ):
        assert unsaid_words(path, words_of(units, sizes)).tolist() == expected


@pytest.mark.parametrize("size", [1, 2])
def test_what_is_written_twice_and_said_once_keeps_a_time(size: int) -> None:
    """Whichever of the two the best path times, the other path may time the other."""
    rng, num_different = np.random.default_rng(size), 0
    for _ in range(8):
        spoken = [rng.integers(1, 30, size).tolist() for _ in range(300)]
        log_probs = spoken_log_probs([0, *(x for word in spoken for unit in word for x in (unit, 0))], 40)
        log_probs += rng.normal(0, 1.5, log_probs.shape).astype(np.float32)
        words = [word for i, word in enumerate(spoken) for word in [word] * (1 + (i % 13 == 7))]
        path = align(log_probs, np.array([u for word in words for u in word]), **COSTS, distance=25)
        timed = (path.start >= 0).reshape(-1, size).any(axis=1)
        left_out = path.unsaid.reshape(-1, size).all(axis=1)
        unsaid = unsaid_words(path, words)
        for w in np.flatnonzero([a == b for a, b in zip(words, words[1:])]).tolist():
            both = np.array([w, w + 1])
            num_different += bool((timed & left_out)[both].any() and (~timed & ~left_out)[both].any())
            assert not timed[both].any() or (timed & ~unsaid)[both].any() or left_out[both].all()
    assert num_different > 3
