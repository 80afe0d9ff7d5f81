"""Recognisers of windows on whole recordings: stubs that know the true words, and err as real ones do."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.words import whole_recordings
from ml2021.asr.words.guards import num_syllables_of
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.asr.words.whole_recordings import OfWholeRecordings, recognise

VOCABULARY = [*"我們今天要講的是機器學習神經網路一二三四五", "deep", "learning", "self-supervised", "model"]
_HALF = 0.5  # of full scale, at the end of the recording


def write_ramp(path: Path, seconds: float) -> None:
    """A recording each of whose samples tells where it is."""
    num_samples = int(seconds * SAMPLE_RATE)
    with sf.SoundFile(str(path), "w", SAMPLE_RATE, 1, "FLOAT") as f:
        for begin in range(0, num_samples, SAMPLE_RATE):
            samples = np.arange(begin, min(begin + SAMPLE_RATE, num_samples)) / num_samples * _HALF
            f.write(samples.astype(np.float32))


class Stub:
    """Hears each word that is whole in a window, with times that are off; what is cut is lost, garbled or doubled."""

    name = "stub"

    def __init__(self, words: Sequence[TimedWord], seconds: float, max_window: float, jitter: float, seed: int) -> None:
        self.words, self.seconds, self.max_window, self.jitter = words, seconds, max_window, jitter
        self.rng = random.Random(seed)
        self.windows: list[tuple[float, float]] = []

    def digests(self) -> dict[str, str]:
        return {"options": "0"}

    def words_of_windows(self, windows: Sequence[NDArray[np.float32]]) -> list[list[TimedWord]]:
        return [self.words_of(*self.span(samples)) for samples in windows]

    def span(self, samples: NDArray[np.float32]) -> tuple[float, float]:
        begin = float(samples[0]) / _HALF * self.seconds
        self.windows.append((begin, begin + len(samples) / SAMPLE_RATE))
        return self.windows[-1]

    def words_of(self, begin: float, end: float) -> list[TimedWord]:
        heard_words: list[TimedWord] = []
        for word in self.words:
            is_cut = word.start < begin - 1e-3 or word.end > end + 1e-3
            if word.end <= begin or word.start >= end or (is_cut and self.rng.random() < 0.4):
                continue
            text = self.rng.choice([word.text, "錯"]) if is_cut else word.text
            shift = self.rng.uniform(-self.jitter, self.jitter) - begin
            copies = self.rng.choice([1, 2]) if is_cut else 1
            heard_words += [TimedWord(text, word.start + shift, word.end + shift, 0.9)] * copies
        return heard_words


def talk(rng: random.Random, seconds: float, pauses: float) -> tuple[list[TimedWord], NDArray[np.int64]]:
    """Words without a pause but where there is one, on average each `pauses` seconds; and the stretches of speech."""
    words: list[TimedWord] = []
    stretches = []
    now = rng.uniform(0.0, 3.0)
    while now < seconds - 4.0:
        begin, stop = now, min(seconds - 2.0, now + rng.expovariate(1 / pauses) + 0.3)
        while now < stop:
            text = rng.choice(VOCABULARY)
            length = num_syllables_of(text) * rng.uniform(0.13, 0.3)
            words.append(TimedWord(text, now, now + length, 0.9))
            now += length
        stretches.append((begin, now))
        now += rng.choice([rng.uniform(0.15, 0.6), rng.uniform(0.6, 2.5), rng.uniform(3.0, 8.0)])
    return words, (np.array(stretches) * SAMPLE_RATE).astype(np.int64)


@pytest.fixture
def hear(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[TimedWord]]:
    """Recognise a talk that needs no file: its samples are those of write_ramp."""

    def run(stub: Stub, stretches: NDArray[np.int64]) -> list[TimedWord]:
        num_samples = int(stub.seconds * SAMPLE_RATE)

        def samples_of(_: object, begin: int, end: int) -> NDArray[np.float32]:
            assert 0 <= begin < end <= num_samples
            return (np.arange(begin, end) / num_samples * _HALF).astype(np.float32)

        monkeypatch.setattr(
            whole_recordings, "open_recording", lambda _: nullcontext(SimpleNamespace(frames=num_samples))
        )
        monkeypatch.setattr(whole_recordings, "samples_of", samples_of)
        monkeypatch.setattr(whole_recordings, "speech_stretches", lambda _: stretches)
        return recognise(Path("talk.wav"), stub)

    return run


@pytest.mark.parametrize("seed", range(40))
def test_every_word_comes_once_and_in_order(seed: int, hear: Callable[..., list[TimedWord]]) -> None:
    rng = random.Random(seed)
    seconds = rng.uniform(20.0, 240.0)
    words, stretches = talk(rng, seconds, pauses=rng.choice([2.0, 10.0, 60.0, 1000.0]))
    stub = Stub(words, seconds, rng.choice([10.0, 28.0, 30.0]), rng.choice([0.0, 0.3, 1.0]), seed)
    result = hear(stub, stretches)
    assert [w.text for w in result] == [w.text for w in words]
    assert all(e - b <= stub.max_window + 1e-3 for b, e in stub.windows)
    starts = [w.start for w in result]
    assert starts == sorted(starts) and all(0 <= w.start <= w.end <= seconds for w in result)
    assert all(a.end <= b.start for a, b in zip(result, result[1:]))
    errors = [abs(a.start - b.start) for a, b in zip(result, words)]
    assert np.median(errors) <= stub.jitter + 0.02 and max(errors) <= 2 * stub.jitter + 1.6  # as long as a word may be


class Erring(Stub):
    """Also repeats the end of some windows again and again, and hallucinates a phrase in each short window."""

    def words_of(self, begin: float, end: float) -> list[TimedWord]:
        words = super().words_of(begin, end)
        if end - begin < 1.5:
            return [TimedWord(t, i * 0.01, i * 0.01, 0.9) for i, t in enumerate("請不吝點贊訂閱轉發打賞支持")]
        if len(words) > 12 and len({w.text for w in words[-5:]}) == 5 and not self.rng.randrange(3):
            at = end - begin + 0.2
            words += [TimedWord(w.text, at, at + 5.0, 0.99) for w in words[-4:]] * 40
        return words


@pytest.mark.parametrize("seed", range(12))
def test_loops_and_hallucinated_phrases_are_left_out_and_said_once(
    seed: int, hear: Callable[..., list[TimedWord]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rng = random.Random(seed)
    words, stretches = talk(rng, 150.0, pauses=rng.choice([4.0, 10.0]))
    cough = np.array([[169.0, 169.2]]) * SAMPLE_RATE
    stub = Erring(words, 170.0, 28.0, 0.3, seed)
    result = hear(stub, np.concatenate([stretches, cough.astype(np.int64)]))
    short = [w for b, e in stub.windows if e - b < 1.5 for w in words if b <= w.start < e]
    assert [w.text for w in result] == [w.text for w in words if w not in short]
    lines = [r.message for r in caplog.records]
    assert len(lines) == 1 and "words left out, more than the speech can hold" in lines[0]


def test_loops_at_the_end_of_windows_keep_their_first_part(
    hear: Callable[..., list[TimedWord]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stretches = np.array([[0.0, 19.0], [19.25, 40.0], [40.25, 60.0]])
    words = [TimedWord(chr(0x4E00 + i), 0.25 * i, 0.25 * i + 0.25, 0.9) for i in range(240) if i not in (76, 160)]

    class Looping(Stub):
        def words_of(self, begin: float, end: float) -> list[TimedWord]:
            words = super().words_of(begin, end)
            return words + [TimedWord(w.text, end - begin, end - begin + 9.0, 0.99) for w in words[-3:]] * 50

    result = hear(Looping(words, 60.0, 28.0, 0.0, 0), (stretches * SAMPLE_RATE).astype(np.int64))
    assert [w.text for w in result] == [w.text for w in words]
    assert caplog.text.count("words left out that repeat what was before") == 1


def test_recogniser_may_adapt_to_the_recording(hear: Callable[..., list[TimedWord]]) -> None:
    words, stretches = talk(random.Random(0), 200.0, pauses=5.0)

    class Adapting(Stub):
        def for_recording(self, first: Sequence[NDArray[np.float32]]) -> Stub:
            self.first = [self.span(samples)[0] for samples in first]
            return Stub(words, 200.0, 28.0, 0.0, 0)

    stub = Adapting([], 200.0, 28.0, 0.0, 0)
    assert [w.text for w in hear(stub, stretches)] == [w.text for w in words]
    assert len(stub.first) == 4 and stub.first[-1] > 100.0  # also from later parts, not only of an opening


def test_of_a_file_with_constant_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_recordings, "_BATCH", 2)
    peaks = []
    for seconds in (100.0, 300.0):
        write_ramp(tmp_path / "a.wav", seconds)
        edges = np.array([[begin, begin + 24.0] for begin in np.arange(0.0, seconds - 24.0, 24.5)])

        def stretches(blocks: Iterable[NDArray[np.float32]], edges: NDArray[np.float64] = edges) -> NDArray[np.int64]:
            assert sum(map(len, blocks)) > edges[-1, 1] * SAMPLE_RATE
            return (edges * SAMPLE_RATE).astype(np.int64)

        monkeypatch.setattr(whole_recordings, "speech_stretches", stretches)
        stub = Stub([TimedWord("我", 1.0, 1.5, 0.9)], seconds, 28.0, 0.0, 0)
        tracemalloc.start()
        (word,) = OfWholeRecordings(stub).recognise(tmp_path / "a.wav")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert word.text == "我" and word.start == pytest.approx(1.0, abs=0.01)
    assert peaks[1] < 1.1 * peaks[0]


def test_recordings_without_words_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_ramp(tmp_path / "a.wav", 3.0)
    sf.write(tmp_path / "stereo.wav", np.zeros((100, 2)), SAMPLE_RATE)
    sf.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    stub = Stub([], 3.0, 28.0, 0.0, 0)
    monkeypatch.setattr(whole_recordings, "speech_stretches", lambda _: np.zeros((0, 2), dtype=np.int64))
    with pytest.raises(NoSpeechError, match=r"a\.wav: no speech was detected"):
        recognise(tmp_path / "a.wav", stub)
    monkeypatch.setattr(whole_recordings, "speech_stretches", lambda _: np.array([[0, 3 * SAMPLE_RATE]]))
    with pytest.raises(NoSpeechError, match=r"a\.wav: stub recognises no words; is it a lecture in a language"):
        recognise(tmp_path / "a.wav", stub)
    for name, message in (("stereo", "2 channels"), ("silent", "no speech"), ("none", "no such recording")):
        with pytest.raises(DataError, match=message) as e:
            recognise(tmp_path / f"{name}.wav", stub)
        assert f"{name}.wav" in str(e.value)
