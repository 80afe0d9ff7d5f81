"""Which units lose their times as strays and which keep them; and transcripts with faults, from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.align_robustness import FAULTS, judge
from benchmarks.align_synthetic import CLEAN, MEDIUM, Noise, emissions, speech
from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.search.strays import drop_strays


def timed(starts: list[int], weak: tuple[int, ...] = (), doubtful: tuple[int, ...] = ()) -> Alignment:
    start = np.array(starts)
    score = np.where(start < 0, 0.0, -0.5)
    score[list(weak)] = -5.0
    in_doubt = np.zeros(len(start), bool)
    in_doubt[list(doubtful)] = True
    return Alignment(
        start,
        np.where(start < 0, -1, start + 2),
        score,
        -7.0,
        np.zeros(max(starts) + 3, bool),
        in_doubt,
        in_doubt & False,
    )


def kept(starts: list[int], weak: tuple[int, ...] = (), doubtful: tuple[int, ...] = ()) -> list[int]:
    return drop_strays(timed(starts, weak, doubtful), min_units=3, isolation=100).start.tolist()


def test_doubtful_units_are_untimed() -> None:
    alignment = drop_strays(timed([0, 3, 6, -1, 200, 203, 206], doubtful=(2, 4)), min_units=3, isolation=100)
    assert alignment.start.tolist() == [0, 3, -1, -1, -1, 203, 206]
    assert alignment.end.tolist() == [2, 5, -1, -1, -1, 205, 208]
    assert alignment.score.tolist() == [-0.5] * 2 + [0.0] * 3 + [-0.5] * 2
    assert alignment.total == -7.0


def test_short_run_far_from_all_others_is_untimed() -> None:
    assert kept([0, 3, 6, 200, 203, 400, 403, 406]) == [0, 3, 6, -1, -1, 400, 403, 406]
    assert kept([0, 200, 203, 206, 309]) == [-1, 200, 203, 206, -1]


@pytest.mark.parametrize(
    "starts",
    [
        [0, 3, 6, 107, 110],  # exactly that far
        [0, 3, 6, 300, 303, 306],  # long enough
        [0, 3, 300, 303],  # short runs only
        [-1, -1],  # nothing is spoken
        [5],  # a lone unit has no main path to stray from
        [0, -1, -1, -1, 300, -1, -1, -1],  # short runs only
        [0, 3, 6, -1, -1, 9, -1, -1, 12, 15, 18],  # no more than two units without a time in a row
        [0, 3, 6, -1, -1, -1, -1, 9, 12, 15],  # long enough, on both sides of text that is not spoken
    ],
)
def test_other_units_stay(starts: list[int]) -> None:
    assert kept(starts) == starts


def test_match_within_unspoken_text_is_untimed() -> None:
    skipped = [-1] * 5
    assert kept([0, 3, 6, *skipped, 9, *skipped, 12, 15, 18]) == [0, 3, 6, *skipped, -1, *skipped, 12, 15, 18]
    assert kept([*skipped, 9, *skipped, 12, 15, 18]) == [*skipped, -1, *skipped, 12, 15, 18]


def test_run_of_units_that_are_hardly_recognised_is_untimed() -> None:
    starts = list(range(0, 30, 3))
    assert kept(starts, weak=(3, 4, 5, 6)) == [0, 3, 6, -1, -1, -1, -1, 21, 24, 27]
    assert kept(starts, weak=(3, 4, 5)) == starts


def test_model_that_recognises_little_keeps_its_times() -> None:
    starts = [0, 3, 6, 60, 63, 66, -1, -1, -1, 69, -1, -1, -1, 72]
    assert kept(starts, weak=(0, 1, 2, 3, 4, 5, 9)) == [0, 3, 6, 60, 63, 66, -1, -1, -1, -1, -1, -1, -1, 72]
    assert kept([0, -1, -1, -1, 60, -1, -1, -1, 90], weak=(0, 4, 8)) == [0, -1, -1, -1, 60, -1, -1, -1, 90]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("seed", "noise"), [(0, CLEAN), (1, MEDIUM)])
def test_faults_of_the_transcript(fault: str, seed: int, noise: Noise) -> None:
    """Ten minutes; the limits are those of 72 minutes, except that two tokens may be off by chance."""
    rng = np.random.default_rng(seed)
    spoken = speech(rng, 600.0)
    result = judge(emissions(rng, spoken, noise), FAULTS[fault](rng, spoken))
    assert result.num_off <= 2
    assert result.unspoken_timed <= 0.02
    assert result.spoken_untimed <= 0.05
