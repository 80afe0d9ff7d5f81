"""Speech detected block by block is the same as in the whole recording."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from silero_vad import get_speech_timestamps, load_silero_vad
from torch import from_numpy

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.audio.vad import HANGOVER, speech_regions, speech_stretches, without_background


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """About 20 s: sentences with pauses of 0.1 to 3 s, and faint noise everywhere."""
    from torchaudio.functional import resample

    speaker = Speaker()
    speaker.choose("en-us", Voice())
    rng = np.random.default_rng(0)
    parts = []
    for pause, text in zip(
        (0.1, 0.4, 3.0, 1.0), ("the deep network learns", "a loss", "we train it again", "so it works")
    ):
        parts += [np.zeros(int(pause * SAMPLE_RATE), dtype=np.float32)]
        parts += [resample(from_numpy(speaker.speak(text.split()).samples), speaker.sample_rate, SAMPLE_RATE).numpy()]
    samples = np.concatenate([*parts, *parts, *parts])
    return (0.5 * samples + 0.001 * rng.standard_normal(len(samples))).astype(np.float32)


def test_stretches_are_those_of_the_whole_recording(speech: np.ndarray) -> None:
    whole = get_speech_timestamps(
        from_numpy(speech), load_silero_vad(onnx=True), min_silence_duration_ms=150, min_speech_duration_ms=100
    )
    stretches = speech_stretches(np.array_split(speech, 7))
    assert len(whole) > 5 and stretches.tolist() == [[s["start"], s["end"]] for s in whole]


def test_the_size_of_the_blocks_does_not_matter(speech: np.ndarray) -> None:
    stretches = speech_stretches([speech])
    assert stretches.tolist() == speech_stretches(speech[i : i + 1000] for i in range(0, len(speech), 1000)).tolist()
    assert (stretches[1:, 0] >= stretches[:-1, 1]).all()
    assert stretches[0, 0] >= 0 and stretches[-1, 1] <= len(speech)


def test_silence_has_no_stretch() -> None:
    assert speech_stretches([np.zeros(SAMPLE_RATE, dtype=np.float32)]).shape == (0, 2)
    assert speech_stretches([]).shape == (0, 2)


def test_the_model_is_loaded_once_and_remembers_no_recording(
    speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, threads = speech_stretches([speech]).tolist(), torch.get_num_threads()
    monkeypatch.setattr("silero_vad.load_silero_vad", lambda **_: pytest.fail("it is loaded again"))
    speech_stretches([speech[: 3 * SAMPLE_RATE + 100]])  # ends in the middle of a sentence
    assert speech_stretches([speech]).tolist() == first
    assert torch.get_num_threads() == threads


def test_each_thread_has_its_own_model(speech: np.ndarray) -> None:
    whole = speech_stretches([speech]).tolist()
    with ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda _: speech_stretches([speech]).tolist(), range(4)))
    assert results == [whole] * 4


def lecture(levels: list[tuple[float, float]], seed: int) -> np.ndarray:
    """Noise of (seconds, dB) one after another, whose level goes up and down by 4 dB five times a second."""
    rng = np.random.default_rng(seed)
    level = np.concatenate([np.full(int(seconds * SAMPLE_RATE), db) for seconds, db in levels])
    time = np.arange(len(level)) / SAMPLE_RATE
    return (10 ** ((level + 4 * np.sin(2 * np.pi * 5 * time)) / 20) * rng.standard_normal(len(level))).astype(
        np.float32
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("floor", [-35.0, -50.0])
def test_pauses_at_the_level_of_the_background(seed: int, floor: float) -> None:
    """Stretches of speech that run through pauses, as with voices in the background, end where the lecturer does."""
    rng = np.random.default_rng(seed)
    spoken, pauses = rng.uniform(0.5, 4, 40), rng.choice([0.15, 0.7, 1.0, 2.0], 40)
    samples = lecture([x for s, p in zip(spoken, pauses) for x in ((s, -20.0), (p, floor))], seed)
    samples = np.concatenate([samples, np.zeros(seed % 2 * 10 * SAMPLE_RATE, np.float32)])  # or muted at the end
    edges = np.cumsum(np.stack([spoken, pauses], axis=1).ravel()).reshape(-1, 2)  # begin and end of each pause
    regions = without_background(samples, np.array([[0, len(samples)]]))
    times = regions / SAMPLE_RATE
    long = edges[pauses > 0.3]
    for begin, end in long[:-1].tolist():
        assert np.abs(times[:, 0] - end).min() < 0.12, "where the lecturer goes on"
        late = times[:, 1] - begin
        assert ((late > 0) & (late < 2 * HANGOVER)).any(), "a stretch lasts a little longer than its speech"
    assert abs(len(regions) - len(long) - 1) <= 2, "short pauses end no stretch"
    assert (regions[:, 1] > regions[:, 0]).all() and (regions[1:, 0] >= regions[:-1, 1]).all()


def test_in_quiet_and_without_pauses_stretches_stay(speech: np.ndarray) -> None:
    stretches = speech_stretches([speech])
    assert speech_regions(speech, "a").tolist() == without_background(speech, stretches).tolist() == stretches.tolist()
    with_silence = np.concatenate([np.zeros(5 * SAMPLE_RATE, np.float32), speech])
    assert (
        without_background(with_silence, stretches + 5 * SAMPLE_RATE).tolist() == (stretches + 5 * SAMPLE_RATE).tolist()
    )
    steady = lecture([(20.0, -25.0), (1.0, -29.0), (20.0, -24.0)], 0)
    whole = np.array([[100, len(steady)]])
    assert without_background(steady, whole).tolist() == whole.tolist()
    assert without_background(steady[:50], np.array([[0, 50]])).tolist() == [[0, 50]]
