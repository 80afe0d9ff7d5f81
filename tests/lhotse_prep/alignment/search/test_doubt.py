"""Units in doubt, compared with an enumeration of all paths; words said at both ends of speech without text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lhotse_prep.alignment.search.align import align
from lhotse_prep.alignment.search.doubt import _Around
from lhotse_prep.alignment.search.frame_reader import BLOCK, FrameReader
from lhotse_prep.alignment.search.states import Text
from tests.lhotse_prep.alignment.search.test_align import STAR, Costs, path_score, random_log_probs, spoken_log_probs

COSTS = {"star_penalty": 2.0, "star_opening": 3.0, "skip_cost": 4.0}


@pytest.mark.parametrize("costs", [(0.7, 0.9, 1.5), (0.3, 0.0, 0.4), (None, 0.0, 1.0)])
@pytest.mark.parametrize("units", [[1, 2], [1, 1, 2], [2, 3, 1]])
def test_margin_is_that_of_all_paths(units: list[int], costs: Costs) -> None:
    for seed, num_frames in enumerate((4, 5, 5)):
        log_probs = random_log_probs(seed, num_frames, 4)
        scores = {
            labels: path_score(labels, log_probs, units, costs)
            for labels in itertools.product(range(STAR, len(units)), repeat=num_frames)
        }
        star_penalty, star_opening, skip_cost = costs
        with FrameReader(log_probs, np.array(units), "week1", star_penalty, None) as reader:
            list(reader.forward(needs_all_units=False))
            text = Text.of(reader.symbols, None if star_penalty is None else star_opening, skip_cost)
            around = _Around(reader, text, np.arange(len(units)), 0, num_frames)
            for unit, (begin, finish) in itertools.product(range(len(units)), [(0, 2), (1, 3), (-3, 9), (3, 4)]):
                elsewhere = [s for labels, s in scores.items() if unit not in labels[max(0, begin) : finish]]
                expected = max(scores.values()) - max(elsewhere)
                assert around.margin(unit, begin, finish) == pytest.approx(expected, abs=1e-4)


def speech(*parts: list[int]) -> np.ndarray:
    """Log-probs of a model that is sure of the parts' symbols, 1..29, with a blank after each."""
    return spoken_log_probs([0, *[x for part in parts for unit in part for x in (unit, 0)]], 30)


BEFORE, AFTER, OTHER = [1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12], list(range(13, 28))  # 15 units take 30 frames


@pytest.mark.parametrize("again", [1, 2, 4])
def test_words_said_at_both_ends_of_speech_without_text_are_in_doubt(again: int) -> None:
    first, last = AFTER[:again], BEFORE[-again:]
    beginning = align(speech(BEFORE, first, OTHER, AFTER), np.array(BEFORE + AFTER), **COSTS, distance=25)
    assert np.flatnonzero(beginning.doubtful).tolist() == list(range(6, 6 + again))
    end = align(speech(BEFORE, OTHER, last, AFTER), np.array(BEFORE + AFTER), **COSTS, distance=25)
    assert np.flatnonzero(end.doubtful).tolist() == list(range(6 - again, 6))
    both = align(speech(BEFORE, first, OTHER, last, AFTER), np.array(BEFORE + AFTER), **COSTS, distance=25)
    assert both.doubtful.sum() == 2 * again


def test_other_words_are_not_in_doubt() -> None:
    units = np.array(BEFORE + AFTER)
    for log_probs in (
        speech(BEFORE, OTHER, AFTER),  # nothing is said twice
        speech(BEFORE, OTHER[:7], AFTER[:2], OTHER[7:], AFTER),  # in the middle: it would add a stretch
        speech(BEFORE, AFTER[:2], OTHER[:4], AFTER),  # less than the distance
        speech(BEFORE, AFTER),
    ):
        assert not align(log_probs, units, **COSTS, distance=25).doubtful.any()
    assert not align(speech(BEFORE, AFTER[:2], OTHER, AFTER), units, **COSTS).doubtful.any()  # not requested


@pytest.mark.parametrize(("length", "doubtful"), [(1, []), (8, [6, 7])])
def test_words_said_amid_long_speech_without_text_are_in_doubt(length: int, doubtful: list[int]) -> None:
    """There they cost star_opening more; beside a minute the margin is more than that."""
    others = OTHER * length
    log_probs = speech(BEFORE, others[:7], AFTER[:2], others[7:], AFTER)
    alignment = align(log_probs, np.array(BEFORE + AFTER), **COSTS, distance=25)
    assert np.flatnonzero(alignment.doubtful).tolist() == doubtful


@pytest.mark.parametrize(("pause", "doubtful"), [(24, []), (30, [2])])
def test_hardly_recognised_unit_beside_a_long_pause_is_in_doubt(pause: int, doubtful: list[int]) -> None:
    units = np.array([1, 2, 4, 5, 4, 7, 8])  # 4 is not spoken; 3 is said instead
    for one_way in (1, -1):
        frames = [0, 1, 0, 2, 0, 3, *[0] * pause, 5, 0, 3, 0, 7, 0, 8, 0][::one_way]
        alignment = align(spoken_log_probs(frames, 9), units[::one_way], mismatch_penalty=4.5, **COSTS, distance=25)
        assert (alignment.start >= 0).all()
        assert np.flatnonzero(alignment.doubtful[::one_way]).tolist() == doubtful


@pytest.mark.parametrize("at", ["beginning", "end"])
def test_gap_at_the_beginning_or_end_of_the_lecture(at: str) -> None:
    units = np.array(BEFORE + AFTER)
    said = [BEFORE + AFTER, OTHER]
    log_probs = speech(*(said if at == "end" else said[::-1]))
    assert not align(log_probs, units, **COSTS, distance=25).doubtful.any()
    said = [*said, AFTER[-2:]] if at == "end" else [BEFORE[:2], *said[::-1]]
    alignment = align(speech(*said), units, **COSTS, distance=25)
    assert np.flatnonzero(alignment.doubtful).tolist() == ([10, 11] if at == "end" else [0, 1])


def test_one_unit() -> None:
    said_once, said_twice = speech(OTHER, [1]), speech([1], OTHER, [1])
    assert not align(said_once, np.array([1]), **COSTS, distance=25).doubtful.any()
    assert align(said_twice, np.array([1]), **COSTS, distance=25).doubtful.tolist() == [True]


def test_number_of_examined_units_is_limited() -> None:
    text = np.random.default_rng(0).integers(1, 13, 60)
    text[29], text[55:] = 29, [28, 29, 28, 29, 28]  # beside what is repeated, and not like it
    alignment = align(speech(text[:30], text[30:55], OTHER, text[30:]), text, **COSTS, distance=25)
    assert (
        20 <= alignment.doubtful[30:55].sum() <= 25
        and not alignment.doubtful[:30].any()
        and not alignment.doubtful[55:].any()
    )


@pytest.mark.parametrize("seed", range(4))
def test_blocks_column_order_and_half_precision_give_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = rng.integers(1, 13, 300)
    parts = [units[:100], OTHER * 40, units[98:200], units[200:202], OTHER * 60, units[200:]]  # over some blocks
    log_probs = speech(*parts) + rng.normal(0, 1, (2 * sum(map(len, parts)) + 1, 30)).astype(np.float32)
    expected = align(log_probs, units, **COSTS, distance=25)
    assert 0 < expected.doubtful.sum() < 20 and len(log_probs) > 3 * BLOCK
    for source in (iter(np.array_split(log_probs, 7)), np.asfortranarray(log_probs)):
        assert np.array_equal(align(source, units, **COSTS, distance=25).doubtful, expected.doubtful)
    half = log_probs.astype(np.float16)
    expected = align(half.astype(np.float32), units, **COSTS, distance=25)
    for source in (half, iter(np.array_split(half, 7))):
        assert np.array_equal(align(source, units, **COSTS, distance=25).doubtful, expected.doubtful)


@pytest.mark.parametrize(
    ("begin", "finish"), [(0, 1), (3, BLOCK), (BLOCK - 1, BLOCK + 1), (BLOCK, 2 * BLOCK), (7, 2 * BLOCK + 9)]
)
def test_frames_of_a_reader_are_those_of_the_array(begin: int, finish: int) -> None:
    log_probs = random_log_probs(0, 2 * BLOCK + 9, 9)
    units = np.array([5, 2, 5, 7])
    for source in (log_probs, iter(np.array_split(log_probs, 5))):
        with FrameReader(source, units, "week1", 2.0, None) as reader:
            list(reader.forward(needs_all_units=True))
            emissions, star_scores, best = reader.frames(begin, finish, np.append(0, reader.symbols))
        assert np.array_equal(emissions, log_probs[begin:finish, [0, 5, 2, 5, 7]])
        assert np.array_equal(best, log_probs[begin:finish].max(axis=1))
        assert np.array_equal(star_scores, np.maximum(log_probs[begin:finish, 0], best - np.float32(2)))


def test_lecture_in_which_nothing_or_nearly_nothing_is_recognised() -> None:
    silence = spoken_log_probs([0] * 200, 30)
    assert not align(silence, np.array(BEFORE), **COSTS, distance=25).doubtful.any()
    strange = align(speech(OTHER * 4), np.array(BEFORE), **COSTS, distance=25)
    assert (strange.start < 0).all() and not strange.doubtful.any()


def test_model_that_recognises_little_leaves_nothing_in_doubt() -> None:
    log_probs = random_log_probs(0, 400, 300, sharpness=0.1)
    alignment = align(log_probs, np.arange(1, 60), mismatch_penalty=4.5, **COSTS, distance=25)
    assert (alignment.start >= 0).any() and not alignment.doubtful.any()
