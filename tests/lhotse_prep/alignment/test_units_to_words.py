"""Units to words, the lag of a model, and vocabularies that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.units_to_words import align_words, finish_times, median_lag, onset_lags, words_of_units
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.config import AlignerConfig

FRAME = 640


def test_word_with_fewer_than_half_its_units_is_not_spoken() -> None:
    start = np.array([3, -1, -1, 8, 9], dtype=np.int64)
    path = Alignment(
        start,
        np.where(start < 0, -1, start + 1),
        np.where(start < 0, 0.0, np.log(0.5)),
        0.0,
        np.zeros(0, bool),
        *np.zeros((2, 5), bool),
    )
    times = words_of_units(path, [3, 0, 2], FRAME)
    assert np.isnan(times.start[:2]).all()
    assert times.start[2] == 8 * FRAME / 16_000 and times.end[2] == 10 * FRAME / 16_000
    assert times.score == pytest.approx([0.5 / 3, 0.0, 0.5])


@pytest.mark.parametrize(
    ("starts", "scores", "expected"),
    [
        ([10, 40, 42], [0.9, 0.5, 0.5], (40, 43)),  # the first unit in another voice, in the pause before the word
        ([10, 12, 40], [0.5, 0.5, 0.9], (10, 13)),
        ([10, 40], [0.3, 0.9], (40, 41)),
        ([10, 40], [0.9, 0.3], (10, 11)),
        ([10, 14, 18], [0.9, 0.9, 0.9], (10, 19)),
        ([-1, 10, 40], [0.0, 0.2, 0.9], (10, 41)),  # one of three units is too little
        ([10, 30, 50, 70], [0.9] * 4, (10, 71)),  # a word that is spelt slowly
        ([10, 30, 32, 60], [0.9, 0.5, 0.5, 0.9], (30, 33)),
    ],
)
def test_units_far_from_the_rest_of_their_word_do_not_count(
    starts: list[int], scores: list[float], expected: tuple[int, int]
) -> None:
    start, size = np.array([1, *starts]), len(starts)
    score = np.log(np.array([0.5, *(max(s, 1e-9) for s in scores)]))
    spoken = start >= 0
    path = Alignment(
        start, np.where(spoken, start + 1, -1), score * spoken, 0.0, np.zeros(0, bool), *np.zeros((2, size + 1), bool)
    )
    times = words_of_units(path, [1, size], FRAME)
    assert (times.start[1] * 25, times.end[1] * 25) == pytest.approx(expected)
    kept = [s for frame, s in zip(starts, scores) if expected[0] <= frame < expected[1]]
    assert times.score[1] == pytest.approx(sum(kept) / size, abs=1e-6)


def test_lag_is_the_median_from_onset_to_first_word_and_is_subtracted() -> None:
    onsets = np.arange(10) * 20.0
    lags = np.array([0.0, *np.tile([0.08, 0.12, 0.16], 3)])
    times = {"l": WordTimes(onsets + lags, onsets + lags + 0.04, np.ones(10))}
    regions = {"l": (np.stack([onsets, onsets + 10], axis=1) * 16_000).astype(np.int64)}
    assert median_lag(onset_lags(times["l"], regions["l"])) == pytest.approx(0.12)
    finished = finish_times(times, {"l": ["一"] * 10}, {"l": [[1]] * 10}, regions)["l"]
    assert finished.start == pytest.approx(np.maximum(onsets + lags - 0.12, 0))


def test_an_english_word_that_is_emitted_late_starts_with_its_stretch() -> None:
    """Each second stretch begins with one; the characters that others begin with show where speech begins."""
    onsets = np.arange(30) * 20.0
    is_english = np.arange(30) % 2 == 1
    start = np.sort(np.concatenate([onsets + np.where(is_english, 0.3, 0.02), onsets + 0.7]))
    words = [w for english in is_english for w in ("gpt" if english else "一", "二")]
    regions = (np.stack([onsets, onsets + 10], axis=1) * 16_000).astype(np.int64)
    times = {"l": WordTimes(start, start + 0.04, np.ones(60))}
    finished = finish_times(times, {"l": words}, {"l": [[1]] * 60}, {"l": regions})["l"]
    assert finished.start[2::4] == pytest.approx(onsets[1::2])


def test_words_of_wrong_passages_have_no_times_even_if_speech_is_left_for_them() -> None:
    """Eight words that are not recognised, on as much speech as they would take."""
    start = np.arange(200) * 0.25
    score = np.where((np.arange(200) >= 90) & (np.arange(200) < 98), 0.01, 0.95)
    wrong = (np.arange(200) >= 90) & (np.arange(200) < 98)
    times = {"l": WordTimes(start, start + 0.1, score, wrong=wrong)}
    finished = finish_times(times, {"l": ["一"] * 200}, {"l": [[1]] * 200}, {"l": np.array([[0, 60 * 16_000]])})["l"]
    assert np.array_equal(np.isnan(finished.start), wrong) and np.array_equal(np.isnan(finished.end), wrong)
    assert (finished.score[wrong] == 0).all() and (finished.score[~wrong] == 0.95).all()


def test_alignment_with_faults_tells_which_words_are_in_wrong_passages() -> None:
    """Forty units are said, twelve are written in the middle that the model does not hear, though somebody speaks."""
    units = [1 + i % 3 for i in range(40)]
    log_probs = np.full((520, 6), -9.0, np.float32)
    log_probs[:, 0] = -0.01
    for i, unit in enumerate(units):
        log_probs[10 * i + (120 if i >= 20 else 0), [0, unit]] = -9.0, -0.01
    for frame in range(205, 315, 9):
        log_probs[frame, [0, 5]] = -9.0, -0.01  # another unit
    text = [*units[:20], *[4] * 12, *units[20:]]
    times = align_words(log_probs, [[u] for u in text], "l", FRAME, AlignerConfig())
    assert (
        times.wrong is not None
        and times.wrong[20:32].all()
        and not times.wrong[:19].any()
        and not times.wrong[33:].any()
    )
    assert align_words(log_probs, [[u] for u in text], "l", FRAME, None).wrong is None


@pytest.mark.parametrize(("num", "lag"), [(7, 0.0), (8, 0.1)])
def test_few_onsets_do_not_tell_the_lag(num: int, lag: float) -> None:
    assert median_lag([0.1] * num) == pytest.approx(lag)


def test_a_noisy_lecture_whose_stretches_begin_anywhere_says_nothing_of_the_lag() -> None:
    rng = np.random.default_rng(0)
    regions = np.array([[t, t + 5] for t in range(0, 300, 10)]) * 16_000
    for spread, is_used in ((0.05, True), (0.4, False)):
        start = np.arange(0, 300, 10) + 0.05 + spread * rng.random(30)
        lags = onset_lags(WordTimes(start, start + 0.1, np.ones(30)), regions)
        assert len(lags) == (29 if is_used else 0)
    assert median_lag([]) == 0.0


def test_vocabulary_that_cannot_write_the_transcript_is_refused() -> None:
    log_probs = np.full((50, 5), -np.log(5), np.float32)
    with pytest.raises(DataError, match="lecture week10_1: .* can write 1 of its 3 words"):
        align_words(log_probs, [[1], [], []], "week10_1", FRAME, AlignerConfig())
    with pytest.raises(DataError, match="lecture week10_1: unit 9 is outside"):
        align_words(log_probs, [[1], [9], []], "week10_1", FRAME, AlignerConfig())


def test_word_that_the_vocabulary_cannot_write_is_not_timed() -> None:
    log_probs = np.full((40, 5), -9.0, np.float32)
    log_probs[:, 0] = -0.01
    for frame, unit in ((5, 1), (15, 2), (25, 3)):
        log_probs[frame, [0, unit]] = log_probs[frame, [unit, 0]]
    times = align_words(log_probs, [[1], [], [2], [3]], "l", FRAME, AlignerConfig())
    assert times.start == pytest.approx([0.2, np.nan, 0.6, 1.0], nan_ok=True)
