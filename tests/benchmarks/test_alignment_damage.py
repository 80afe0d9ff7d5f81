"""The benchmark of damage judges words by the truth, finds the confidence to trust, and tells a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.alignment_damage import Aligner, Judged, curve, main, row, trusted_threshold
from benchmarks.lecture_damage import NOT_SAID, SpokenLecture, Word
from lhotse_prep.alignment.word_times import WordTimes
from ml2021.asr.aligner.config import AlignerConfig

LECTURE = SpokenLecture(
    "talk",
    np.zeros(0, np.float32),
    np.array([[1.0, 3.0], [5.0, 6.0]]),
    (Word("a", 0, True), Word("b", 0), Word("x", NOT_SAID), Word("y", NOT_SAID), Word("c", 1, True), Word("d", 1)),
)


def times(start: Sequence[float], score: Sequence[float] = (0.9,) * 6) -> WordTimes:
    return WordTimes(np.array(start), np.array(start) + 0.2, np.array(score))


def test_errors_of_first_words_are_exact_and_of_others_outside_their_utterance() -> None:
    judged = Judged.of(LECTURE, times([1.25, 2.9, np.nan, 4.0, 4.0, 9.0]))
    np.testing.assert_allclose(judged.error, [0.25, 0.0, np.nan, np.inf, 1.0, 3.0])
    assert judged.is_said.tolist() == [True, True, False, False, True, True]
    assert np.isnan(Judged.of(LECTURE, times([np.nan] * 6)).error).all()


def test_a_row_has_the_shares() -> None:
    judged = Judged.of(LECTURE, times([1.25, 2.9, np.nan, 4.0, np.nan, 9.0]))
    assert row("k", [judged], 1) == "| k | 2 | 1 | 66.67% | 250 | 250 | 33.33% | 33.33% | 25.00% | 50.00% |"
    assert row("k", [], 2) == "| k | 2 | 2 |" + " - |" * 7


def test_the_curve_and_the_threshold_are_those_of_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    score = np.round(rng.random(500), 2)
    error = np.where(rng.random(500) < score**0.1, 0.1, 0.4)
    error[::7] = np.nan
    none = np.zeros(500, np.bool_)
    judged = Judged(error, score, ~none, none)
    timed = np.isfinite(error)
    shares = {t: (error[timed & (score >= t)] < 0.3).mean() for t in np.unique(score[timed])}
    assert trusted_threshold(judged, 0.97) == min(t for t, share in shares.items() if share >= 0.97)
    assert curve(judged, [0.5]) == [(0.5, pytest.approx((score[timed] >= 0.5).mean()), pytest.approx(shares[0.5]))]
    assert trusted_threshold(Judged(np.full(3, 9.0), np.ones(3), ~none[:3], none[:3])) is None


class Letters:
    """A model that hears letter n of the alphabet at sample value n / 100, 0 as silence; a frame is 40 ms."""

    frame = 640
    num_blocks = 0

    def encode(self, words: Sequence[str]) -> list[list[int]]:
        return [[ord(c) - 96 for c in word] for word in words]

    def blocks(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        self.num_blocks += 1
        letters = np.round(100 * samples[:: self.frame]).astype(int)
        log_probs = np.full((len(letters), 27), -12.0, np.float32)
        log_probs[np.arange(len(letters)), letters] = -0.01
        yield log_probs


def test_a_lecture_is_aligned_and_its_log_probs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    regions = np.array([[9600, 35_200], [51_200, 76_800]])
    monkeypatch.setattr("benchmarks.alignment_damage.speech_regions", lambda samples, lecture: regions)
    samples = np.zeros(6 * 16_000, np.float32)
    truth = []
    for begin, text in ((0.6, "a b c d e f g h"), (3.2, "i j k l m n o p")):
        for n, word in enumerate(text.split()):
            at = round((begin + 0.2 * n) * 16_000)
            samples[at : at + 1280] = (ord(word) - 96) / 100
        truth.append((begin, begin + 1.6, text))
    lecture, model = SpokenLecture.of_truth("talk", samples, truth), Letters()
    aligner = Aligner(model, AlignerConfig())
    for _ in range(2):
        ((same, result),) = aligner.align([(lecture, True)])
        assert same is lecture and result is not None
        assert np.nanmax(Judged.of(lecture, result).error) < 0.1
        assert np.isfinite(result.start).all()
    assert model.num_blocks == 1
    empty = SpokenLecture("none", samples, lecture.utterances, ())
    assert [t for _, t in aligner.align([(empty, False)])] == [None]
    assert model.num_blocks == 2


def test_a_kind_that_there_is_not_is_told_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--corpus", "nowhere", "--model", "nowhere", "--kinds", "none", "room+rom"]
    monkeypatch.setattr("sys.argv", ["alignment_damage.py", *arguments])
    with pytest.raises(SystemExit):
        main()
    assert "--kinds: no damage 'rom'; there are none, babble-20," in capsys.readouterr().err
