"""Words that the model missed get a time only where speech is left for them; late first words start at the onset."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.alignment.word_times import WordTimes, complete, drawn_to_onsets


def completed(
    starts: list[float | None],
    regions: list[tuple[float, float]],
    units: list[int] | None = None,
    score: float = 0.4,  # of a model that is not sure of most words
) -> tuple[list[float], list[float]]:
    """Completed starts and ends of words, of two units unless given, 0.1 s per unit; the model's words last 0.05 s."""
    start = np.array([np.nan if s is None else s for s in starts])
    lead = np.arange(5) * 0.2 - 100  # earlier words in a row, which give the length of a unit
    times = WordTimes(
        np.concatenate([lead, start]), np.concatenate([lead, start]) + 0.05, np.full(len(start) + 5, score)
    )
    sizes = np.array([2] * 5 + (units or [2] * len(starts)))
    filled_in = complete(times, sizes, np.array([(-101.0, -90.0), *regions]))
    assert np.array_equal(filled_in.score, times.score)
    return filled_in.start[5:].tolist(), filled_in.end[5:].tolist()


def test_word_after_a_pause_begins_with_speech_that_belongs_to_no_other() -> None:
    starts, ends = completed([0.0, 0.2, None, 1.5, 1.7], [(0.0, 0.4), (1.0, 3.0)])
    assert starts == pytest.approx([0.0, 0.2, 1.0, 1.5, 1.7]) and ends[2] == pytest.approx(1.5)


def test_word_within_speech_follows_the_one_before() -> None:
    starts, _ = completed([0.0, 0.2, None, None, 0.9, 1.1], [(0.0, 3.0)])
    assert starts == pytest.approx([0.0, 0.2, 0.4, 0.65, 0.9, 1.1])


def test_word_is_not_spoken_where_no_speech_is_left() -> None:
    starts, _ = completed([0.0, 0.2, None, 0.4, 0.6], [(0.0, 3.0)])
    assert np.isnan(starts[2])
    starts, _ = completed([0.0, 0.2, None, 2.0, 2.2], [(0.0, 0.4), (2.0, 3.0)])  # a pause is not speech
    assert np.isnan(starts[2])


def test_many_words_do_not_fit_into_little_speech_nor_few_into_much() -> None:
    starts, _ = completed([0.0, *[None] * 180, 1.0, 1.2], [(0.0, 3.0)])
    assert np.isnan(starts[1:181]).all()
    starts, _ = completed([0.0, None, 30.0, 30.2], [(0.0, 31.0)])  # half a minute without text
    assert np.isnan(starts[1])


def test_words_on_both_sides_of_a_pause() -> None:
    starts, _ = completed([0.0, None, None, 1.4], [(0.0, 0.4), (1.2, 3.0)])
    assert starts == pytest.approx([0.0, 0.2, 1.2, 1.4])


def test_a_model_that_is_sure_of_most_words_leaves_out_what_the_end_of_a_neighbour_may_be() -> None:
    """A word of 0.2 s between others: 0.2 s of speech may belong to the word before, 0.3 s do not."""
    for end, is_timed in ((0.6, False), (0.7, True)):
        starts, _ = completed([0.0, 0.2, None, end, 1.0], [(0.0, 3.0)], score=0.9)
        assert np.isfinite(starts[2]) == is_timed
        starts, _ = completed([0.0, 0.2, None, end, 1.0], [(0.0, 3.0)])
        assert starts[2] == pytest.approx(0.4)


def test_late_first_word_starts_at_the_onset_of_speech() -> None:
    starts, _ = completed([0.0, 0.2, 1.4, 1.8], [(0.0, 0.4), (1.0, 3.0)])
    assert starts == pytest.approx([0.0, 0.2, 1.0, 1.8])
    starts, _ = completed([0.0, 0.2, 1.4, 1.8], [(0.0, 0.4), (1.0, 3.0)], score=0.9)  # what is before it may be others
    assert starts == pytest.approx([0.0, 0.2, 1.4, 1.8])
    starts, _ = completed([0.0, 0.2, 1.6, 1.8], [(0.0, 0.4), (1.0, 3.0)])  # this much may be speech without text
    assert starts == pytest.approx([0.0, 0.2, 1.6, 1.8])
    starts, _ = completed(
        [0.0, 0.2, 1.1, 1.3], [(0.0, 0.4), (1.0, 3.0)]
    )  # the model is more precise than voice activity
    assert starts == pytest.approx([0.0, 0.2, 1.1, 1.3])


@pytest.mark.parametrize("is_noisy", [False, True])
def test_where_stretches_begin_with_other_voices_no_word_is_drawn_to_them(is_noisy: bool) -> None:
    rng = np.random.default_rng(0)
    onsets = np.arange(30) * 10.0
    lags = np.where(np.arange(30) % 5 == 0, 0.3, rng.uniform(0.0, 0.05, 30))
    if is_noisy:
        lags = rng.uniform(0.0, 0.45, 30)
    start = onsets + lags
    drawn = drawn_to_onsets(start, start + 0.1, np.stack([onsets, onsets + 5], axis=1))
    assert np.array_equal(drawn, start if is_noisy else np.where(lags > 0.15, onsets, start))
    few = drawn_to_onsets(start[:4], start[:4] + 0.1, np.stack([onsets, onsets + 5], axis=1))  # too few to tell
    assert np.array_equal(few, np.where(lags > 0.15, onsets, start)[:4])


LATE = {"lag": 0.3, "spread": 0.05, "agreement": None, "untimed": False}


@pytest.mark.parametrize(
    "case",
    [
        {"is_drawn": True},
        {"lag": 0.09},  # no more than the model's precision
        {"lag": 0.12, "is_drawn": True},
        {"lag": 0.6},  # what is before it may be speech without text
        {"spread": 0.4},  # stretches begin with other voices
        {"agreement": 0.9},  # a recogniser's words
        {"untimed": True},  # the word before may be said there
    ],
)
def test_recognised_english_words_are_drawn_where_stretches_surely_begin_with_words(case: dict[str, float]) -> None:
    """Each third stretch begins with one, the others with a character; three other characters are in each."""
    case = LATE | {"is_drawn": False} | case
    onsets = np.arange(60) * 10.0
    is_english = np.arange(60) % 3 == 1
    lags = np.where(is_english, case["lag"], np.random.default_rng(0).uniform(0, case["spread"], 60))
    before = np.where(is_english & bool(case["untimed"]), np.nan, onsets - 5.0)
    rows = np.stack([before, onsets + lags, onsets + 0.65, onsets + 0.9], axis=1)
    is_character = np.ones_like(rows, dtype=bool)
    is_character[:, 1] = ~is_english
    start = rows.flatten()
    times = WordTimes(start, start + 0.04, np.where(np.isnan(start), 0.0, 0.9), case["agreement"])
    regions = np.stack([onsets, onsets + 5.3], axis=1)
    num_units = np.ones(len(start), np.int64)
    rows[:, 1] = np.where(is_english & case["is_drawn"], onsets, onsets + lags)
    timed = np.isfinite(start)
    drawn = complete(times, num_units, regions, is_character.flatten()).start
    assert drawn[timed] == pytest.approx(rows.flatten()[timed])
    assert complete(times, num_units, regions).start[timed] == pytest.approx(start[timed])


@pytest.mark.parametrize("is_quiet", [False, True])
@pytest.mark.parametrize("seed", range(50))
def test_words_stay_in_order(seed: int, is_quiet: bool) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.uniform(0.1, 3, 24) + 2 * is_quiet)
    regions = edges.reshape(-1, 2)
    start = np.sort(np.append(rng.uniform(0, edges[-1], 60), regions[:, 0] + 0.01 if is_quiet else []))
    start[rng.random(len(start)) < 0.2] = np.nan
    times = WordTimes(start, start + 0.04, rng.random(len(start)))
    filled_in = complete(times, rng.integers(1, 5, len(start)), regions, rng.random(len(start)) < 0.7)
    timed = np.isfinite(filled_in.start)
    assert (timed | np.isnan(start)).all()
    assert (np.diff(filled_in.start[timed]) >= -1e-9).all()
    filled = timed & np.isnan(start)
    inside = [((regions[:, 0] <= s + 1e-9) & (s < regions[:, 1] + 1e-9)).any() for s in filled_in.start[filled]]
    assert all(inside) and (filled_in.end[filled] > filled_in.start[filled]).all()


def test_nothing_is_guessed_without_any_timed_words() -> None:
    times = WordTimes(np.full(3, np.nan), np.full(3, np.nan), np.zeros(3))
    assert np.isnan(complete(times, np.array([1, 1, 1]), np.array([[0.0, 9.0]])).start).all()
