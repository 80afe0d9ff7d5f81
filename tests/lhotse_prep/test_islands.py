"""What is untimed as a stray, and what must stay; and lectures whose transcripts have faults, from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.align_robustness import FAULTS, judge
from benchmarks.align_synthetic import CLEAN, MEDIUM, Noise, emissions, speech
from lhotse_prep.align import Alignment
from lhotse_prep.islands import drop_strays


def timed(starts: list[int], weak: tuple[int, ...] = (), star: tuple[int, ...] = ()) -> Alignment:
    start = np.array(starts)
    score = np.where(start < 0, 0.0, -0.5)
    score[list(weak)] = -5.0
    frames = np.zeros(max(starts) + 3, bool)
    frames[list(star)] = True
    return Alignment(start, np.where(start < 0, -1, start + 2), score, -7.0, frames)


def kept(starts: list[int], weak: tuple[int, ...] = (), star: tuple[int, ...] = ()) -> list[int]:
    return drop_strays(timed(starts, weak, star), min_units=3, isolation=100, second=25).start.tolist()


def test_short_run_far_from_all_others_is_untimed() -> None:
    found = drop_strays(timed([0, 3, 6, -1, 200, 203, 400, 403, 406]), min_units=3, isolation=100, second=25)
    assert found.start.tolist() == [0, 3, 6, -1, -1, -1, 400, 403, 406]
    assert found.end.tolist() == [2, 5, 8, -1, -1, -1, 402, 405, 408]
    assert found.score.tolist() == [-0.5] * 3 + [0.0] * 3 + [-0.5] * 3
    assert found.total == -7.0


@pytest.mark.parametrize(
    "starts",
    [
        [0, 3, 6, 100, 103, 106],  # as far as that, but not farther
        [0, 3, 6, 300, 303, 306],  # long enough
        [-1, -1],  # nothing is spoken
        [5],  # a lone unit has nothing to be far from
        [0, 3, 300, 303],  # short runs only
        [0, 3, 6, -1, -1, 9, -1, -1, 12, 15, 18],  # no more than two units without a time in a row
        [0, 3, 6, -1, -1, -1, -1, 9, 12, 15],  # long enough, on both sides of text that is not spoken
    ],
)
def test_other_runs_stay(starts: list[int]) -> None:
    assert kept(starts) == starts


def test_single_unit_astray_from_the_run_that_it_begins_or_ends_is_untimed() -> None:
    assert kept([0, 3, 6, 200, 260, 263, 266]) == [0, 3, 6, -1, 260, 263, 266]
    assert kept([0, 3, 6, 66, 260, 263, 266]) == [0, 3, 6, -1, 260, 263, 266]
    assert kept([0, 3, 6, 200, 240, 243, 246]) == [0, 3, 6, 200, 240, 243, 246]  # not far from what follows
    assert kept([0, 3, 6, 66, 126, 129, 132]) == [0, 3, 6, 66, 126, 129, 132]  # not far from anything
    assert kept([0, 60, 63, 66, 200, 203, 206, 260]) == [0, 60, 63, 66, 200, 203, 206, 260]  # first and last words


def test_match_within_text_that_is_not_spoken_is_untimed() -> None:
    skipped = [-1] * 5
    assert kept([0, 3, 6, *skipped, 9, *skipped, 12, 15, 18]) == [0, 3, 6, *skipped, -1, *skipped, 12, 15, 18]
    assert kept([*skipped, 9, *skipped, 12, 15, 18]) == [*skipped, -1, *skipped, 12, 15, 18]


def test_units_that_are_hardly_heard_go_beside_long_gaps_and_in_long_runs() -> None:
    assert kept([0, 3, 6, 60, 63, 66], weak=(2,)) == [0, 3, -1, 60, 63, 66]
    assert kept([0, 3, 6, 60, 63, 66], weak=(3, 4)) == [0, 3, 6, -1, -1, 66]
    assert kept([0, 3, 6, 9, 12, 15], weak=(2,)) == [0, 3, 6, 9, 12, 15]
    weak = (3, 4, 5, 6)
    assert kept([0, 3, 6, 9, 12, 15, 18, 21, 24, 27], weak) == [0, 3, 6, -1, -1, -1, -1, 21, 24, 27]


def test_model_that_hardly_hears_anything_keeps_its_times() -> None:
    starts = [0, 3, 6, 60, 63, 66, -1, -1, -1, 69, -1, -1, -1, 72]
    assert kept(starts, weak=(0, 1, 2, 3, 4, 9)) == [0, 3, 6, 60, 63, 66, -1, -1, -1, -1, -1, -1, -1, 72]
    assert kept([0, -1, -1, -1, 60, -1, -1, -1, 90], weak=(0, 4, 8)) == [0, -1, -1, -1, 60, -1, -1, -1, 90]


def test_text_that_is_drawn_out_over_speech_without_text_is_untimed() -> None:
    front, back = list(range(0, 36, 3)), list(range(120, 156, 3))
    hole = tuple(range(40, 60))
    assert kept([*front, 62, 66, 69, 72, *back], star=(*hole, *range(76, 96))) == [*front, -1, -1, -1, -1, *back]
    assert kept([*front, 62, 70, *back], star=(*hole, 65, 66, 67, 90, 91, 92)) == [*front, -1, -1, *back]
    assert kept([*front, 62, 70, *back], star=hole[:11]) == [*front, 62, 70, *back]  # too little speech for a hole
    tail = [62, 65, 68, 71, 74, 77, 80, 83, 86, 89, 92]  # longer than the hole: 22 frames
    assert kept([*front, *tail, *back], star=(*hole, 100, 101, 102)) == [*front, *tail, *back]
    assert kept([*front, *tail[:4], *back], star=(*hole, 100, 101, 102)) == [*front, *[-1] * 4, *back]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("seed", "noise"), [(0, CLEAN), (1, MEDIUM)])
def test_faults_of_the_transcript(fault: str, seed: int, noise: Noise) -> None:
    """Ten minutes: the limits are those of 72, but for one or two tokens that are off by chance."""
    rng = np.random.default_rng(seed)
    spoken = speech(rng, 600.0)
    result = judge(emissions(rng, spoken, noise), FAULTS[fault](rng, spoken))
    assert result.num_off <= 2
    assert result.unspoken_timed <= 0.03
    assert result.spoken_untimed <= 0.06
