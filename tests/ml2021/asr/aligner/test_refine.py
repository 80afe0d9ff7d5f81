"""Coarse times become exact by the sound of the units: made sounds whose true times are known."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from ml2021.asr.aligner import refine
from ml2021.asr.aligner.refine import refine_times
from ml2021.asr.aligner.unit_sounds import UnitSounds, cepstra, num_frames

CHARACTERS = list("我們來講機器學習的模型在訓練資料上很好所以這個方法可以用到測試看結果")


class Lecture:
    """Words with true times, and features in which each unit has a spectrum of its own."""

    def __init__(self, seed: int, num_words: int = 400) -> None:
        rng = np.random.default_rng(seed)
        self.words = [str(w) for w in rng.choice([*CHARACTERS, "bert", "transformer"], num_words)]
        spelling = PronunciationUnits.of_texts([" ".join(self.words)], 30)
        sounds = rng.normal(0, 1.0, (len(spelling), 80))
        frames: list[NDArray[np.float64]] = [np.tile(sounds[0], (30, 1))]
        start, regions = [], []
        begin = 30
        for i, units in enumerate(spelling.encode_words(self.words)):
            start.append(sum(map(len, frames)) / 100)
            for unit in units:
                frames.append(np.tile(sounds[unit], (int(rng.integers(8, 14)), 1)))
            if rng.random() < 0.1 or i + 1 == num_words:
                end = sum(map(len, frames))
                regions.append([begin * 160, (end + 13) * 160])  # as detectors do, which notice silence late
                frames.append(np.tile(sounds[0], (int(rng.integers(20, 60)), 1)))
                begin = sum(map(len, frames))
        self.features = np.concatenate(frames).astype(np.float32)
        self.features += rng.normal(0, 0.7, self.features.shape).astype(np.float32)
        self.start, self.regions = np.array(start), np.array(regions, dtype=np.int64)

    def coarse(self, seed: int, scale: float = 0.4) -> WordTimes:
        """Times that are off by so many seconds, neighbours alike."""
        rng = np.random.default_rng(seed)
        steps = rng.normal(0, scale, len(self.words) // 8 + 1).repeat(8)[: len(self.words)]
        start = np.maximum.accumulate(np.clip(self.start + steps, 0, None))
        return WordTimes(start, start + 0.15, np.ones(len(start)))

    def refined(self, times: WordTimes) -> WordTimes:
        return refine_times("x", self.words, times, self.features, self.regions)


@pytest.mark.parametrize("seed", range(3))
def test_times_that_are_off_by_half_a_second_become_exact(seed: int) -> None:
    lecture = Lecture(seed)
    times = lecture.coarse(seed)
    before = np.abs(times.start - lecture.start)
    after = np.abs(lecture.refined(times).start - lecture.start)
    assert np.median(before) > 0.15
    assert np.median(after) < 0.031 and np.quantile(after, 0.95) < 0.1


def test_pieces_of_the_search_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    lecture = Lecture(0)
    whole = lecture.refined(lecture.coarse(0))
    monkeypatch.setattr(refine, "_PIECE", 20.0)
    pieces = lecture.refined(lecture.coarse(0))
    assert np.nanmax(np.abs(whole.start - pieces.start)) < 0.05
    assert (np.diff(pieces.start) >= 0).all()


def test_what_was_not_matched_stays_without_a_time() -> None:
    """A long run of words that a recogniser did not hear is not squeezed in; a short one is placed."""
    lecture = Lecture(1)
    times = lecture.coarse(1, 0.1)
    words = [*lecture.words[:200], *CHARACTERS, *lecture.words[200:]]
    gap = np.full(len(CHARACTERS), np.nan)
    start = np.concatenate([times.start[:200], gap, times.start[200:]])
    start[50:52] = np.nan
    given = WordTimes(start, start + 0.15, np.ones(len(start)))
    refined = refine_times("x", words, given, lecture.features, lecture.regions)
    assert np.isnan(refined.start[200 : 200 + len(gap)]).all()
    true = np.concatenate([lecture.start[:200], gap, lecture.start[200:]])
    assert np.nanquantile(np.abs(refined.start - true), 0.95) < 0.1
    assert refined.start[50:52] == pytest.approx(lecture.start[50:52], abs=0.1)
    assert (refined.score == given.score).all()


def test_times_that_fit_the_speech_better_are_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lecture = Lecture(3)
    exact = WordTimes(lecture.start, lecture.start + 0.3, np.ones(400))
    worse = replace(exact, start=exact.start + 0.5, end=exact.end + 0.5)
    monkeypatch.setattr(refine, "_checked", lambda *_: worse)
    with caplog.at_level(logging.INFO):
        assert lecture.refined(exact) is exact
    assert "which fit the speech as well as refined ones" in caplog.text
    monkeypatch.setattr(refine, "_checked", lambda *_: exact)
    assert lecture.refined(worse) is exact


def test_few_words_and_times_of_another_text_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    lecture = Lecture(2)
    few = WordTimes(*(np.where(np.arange(400) < 10, x, np.nan) for x in (lecture.start, lecture.start, lecture.start)))
    assert lecture.refined(few) is few
    times = lecture.coarse(2)
    crowded = WordTimes(np.full(400, 5.0), np.full(400, 5.1), np.ones(400))  # all at once: no room for them
    assert lecture.refined(crowded) is crowded
    assert "keep the times that they had" in caplog.text or "which are kept" in caplog.text
    assert lecture.refined(times) is not times


def test_sounds_of_units_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 40).repeat(10)
    features = (rng.normal(0, 1, (5, 80))[labels.repeat(2)] + rng.normal(0, 0.5, (800, 80))).astype(np.float32)
    frames = cepstra(features)
    assert num_frames(frames) == 400
    sounds = UnitSounds.fit(frames, labels, 5)
    log_probs = sounds.log_probs(frames, np.ones(400, bool), 0, 400)
    assert (log_probs.argmax(1) == labels).mean() > 0.9
    assert np.exp(log_probs).sum(1) == pytest.approx(np.ones(400), abs=1e-4)
    assert np.array_equal(sounds.log_probs(frames, np.ones(400, bool), 100, 200), log_probs[100:200])
    closed = sounds.log_probs(frames, np.zeros(400, bool), 0, 400)
    assert (closed[:, 0] == 0).all() and (closed[:, 1:] < -10).all()
