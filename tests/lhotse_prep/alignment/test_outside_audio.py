"""A recogniser's words held against real audio: synthesised speech, its speech found by voice activity detection."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from lhotse import SupervisionSegment
from numpy.typing import NDArray

from lhotse_prep.alignment import matching
from lhotse_prep.alignment.confidence import confidence_report, report_line
from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.matching import match_lectures
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError

RATE = 16_000
SENTENCE = (
    "today we talk about speech and how a machine learns to write it down after that you see a short example of a "
    "model that reads a long text and learns which word follows it takes time but it is not hard to understand"
)


class Spoken:
    """A lecture of about a minute, its words and when each of them begins and ends."""

    def __init__(self, folder: Path) -> None:
        speaker, rng = Speaker(), np.random.default_rng(0)
        speaker.choose("en-us", Voice(rate=160))
        pieces, self.words, starts, now = [np.zeros(RATE // 2)], list[str](), list[float](), 0.5
        while now < 65:
            sentence = [str(w) for w in rng.choice(SENTENCE.split(), rng.integers(4, 11))]
            speech = speaker.speak(sentence)
            seconds = len(speech.samples) / speaker.sample_rate
            at = np.arange(int(seconds * RATE)) / RATE * speaker.sample_rate
            starts += (now + speech.word_starts / speaker.sample_rate).tolist()
            pieces += [np.interp(at, np.arange(len(speech.samples)), speech.samples)]
            pieces += [np.zeros(int(rng.choice([0.4, 0.6, 1.2]) * RATE))]
            self.words += sentence
            now = sum(map(len, pieces)) / RATE
        samples = np.concatenate(pieces)
        samples += rng.normal(0, 1e-3, len(samples))
        sf.write(folder / "talk.wav", samples, RATE)
        supervision = SupervisionSegment("talk", "talk", 0.0, len(samples) / RATE, text=" ".join(self.words))
        self.lecture = Lecture(supervision, folder / "talk.wav", "train")
        self.start = np.array(starts)
        self.end = np.minimum(self.start + 0.4, np.append(self.start[1:], now))

    def match(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> tuple[WordTimes, NDArray[np.float64]]:
        words = self.words[: len(start)]
        times, regions = match_lectures([self.lecture], {"talk": Hypothesis(words, start, end)}, str)
        return times["talk"], regions["talk"] / RATE


@pytest.fixture(autouse=True)
def speech_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "speech_regions", lambda samples, name: find_speech(samples.tobytes(), name))


@cache
def find_speech(samples: bytes, name: str) -> NDArray[np.int64]:
    return speech_regions(np.frombuffer(samples, np.float32), name)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Spoken:
    return Spoken(tmp_path_factory.mktemp("spoken"))


def test_right_times_are_taken_as_they_are(spoken: Spoken) -> None:
    times, regions = spoken.match(spoken.start, spoken.end)
    assert np.isfinite(times.start).all() and times.start == pytest.approx(spoken.start)
    assert times.agreement is not None and times.agreement > 0.5 and times.score.mean() > 0.97
    report = confidence_report("talk", spoken.words, times, regions)
    assert report["speech_covered"] > 0.99 and f"agreement {times.agreement:.2f}" in report_line(report)


def test_rough_times_are_taken_and_score_less(spoken: Spoken) -> None:
    rough = np.sort(np.maximum(spoken.start + np.random.default_rng(0).normal(0, 0.55, len(spoken.start)), 0))
    times, _ = spoken.match(rough, rough + 0.2)
    exact, _ = spoken.match(spoken.start, spoken.end)
    assert np.isfinite(times.start).mean() > 0.9 and times.score.mean() < exact.score.mean() - 0.05


@pytest.mark.parametrize(
    ("scale", "shift", "message"),
    [
        (1000.0, 0.0, "milliseconds"),
        (25.0, 0.0, "frames of 40 ms"),
        (1.0, 2.0, r"they fit it (1\.9|2\.0|2\.1) s earlier"),
        (1.0, 10.0, r"they fit it (9\.9|10\.0|10\.1) s earlier"),
        (1.0427, 0.0, r"they fit it multiplied by 0\.9[56]\d\d"),
        (1 / 60, 0.0, "a second, more than anyone says.*minutes"),
    ],
)
def test_wrong_times_are_refused(spoken: Spoken, scale: float, shift: float, message: str) -> None:
    with pytest.raises(DataError, match=f"lecture talk: .*{message}"):
        spoken.match(spoken.start * scale + shift, spoken.end * scale + shift)


def test_words_of_the_first_half_time_the_first_half(spoken: Spoken, caplog: pytest.LogCaptureFixture) -> None:
    half = len(spoken.start) // 2
    times, regions = spoken.match(spoken.start[:half], spoken.end[:half])
    report = confidence_report("talk", spoken.words, times, regions)
    assert 0.45 < report["timed_part"] < 0.55 and 0.4 < report["speech_covered"] < 0.6
    assert "there is speech without any: was the recogniser stopped early?" in caplog.text


def test_words_in_silence_lose_their_times(spoken: Spoken) -> None:
    start, end = spoken.start.copy(), spoken.end.copy()
    start[:2], end[:2] = (0.02, 0.04), (0.03, 0.05)  # half a second before anyone speaks
    times, _ = spoken.match(start, end)
    assert np.isnan(times.start[:2]).all() and np.isfinite(times.start[2:]).all() and times.score[0] == 0
