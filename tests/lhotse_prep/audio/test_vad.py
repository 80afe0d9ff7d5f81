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
from lhotse_prep.audio.vad import speech_stretches


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
