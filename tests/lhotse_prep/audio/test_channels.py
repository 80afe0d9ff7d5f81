"""What is made of the channels of a recording never loses the speech, and is said in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.audio.channels import ChannelMeter

RATE = 16_000
SECONDS = 4


def noise(level: float, seed: int = 0, seconds: float = SECONDS) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, int(seconds * RATE)).astype(np.float32)


def hum(level: float) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 50 * np.arange(SECONDS * RATE) / RATE)).astype(np.float32)


def swell() -> np.ndarray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * 0.5 * np.arange(SECONDS * RATE) / RATE)).astype(np.float32)


def through_the_gate(sound, tmp_path: Path, caplog, channels: list[np.ndarray]) -> tuple[np.ndarray, str]:
    sf.write(tmp_path / "a.wav", np.stack(channels, axis=1), RATE)
    with caplog.at_level(logging.INFO):
        samples = sound.passed(tmp_path / "a.wav")
    return samples, caplog.text.partition("FLAC; ")[2].strip()


def snr(samples: np.ndarray, speech: np.ndarray) -> float:
    """dB of speech, at any gain, over all else."""
    gain = float(samples @ speech / (speech @ speech))
    rest = samples - gain * speech
    return 10 * np.log10(gain**2 * float(speech @ speech) / max(1e-12, float(rest @ rest)))


CASES = [
    ("stereo", lambda x: [x, x], "the mean of 2 channels", 40),
    ("louder on one side", lambda x: [x, 0.1 * x], "the mean of 2 channels", 40),
    ("opposite phase", lambda x: [x, -x], "channel 2 is in opposite phase and was inverted", 40),
    ("opposite phase, quieter", lambda x: [x, -0.5 * x], "channel 2 is in opposite phase and was inverted", 40),
    ("opposite phase, hum", lambda x: [x + hum(0.2), -x + hum(0.2)], "channel 2 is in opposite phase", 40),
    (
        "opposite phase, noise",
        lambda x: [x + noise(0.003, 1), noise(0.003, 2) - x],
        "channel 2 is in opposite phase",
        20,
    ),
    ("opposite phase, offset", lambda x: [x + 0.2, 0.3 - x], "channel 2 is in opposite phase", 40),
    ("dead", lambda x: [x, 0 * x], "channel 1 of 2 (channel 2 is silent)", 40),
    ("dead first", lambda x: [0 * x, x], "channel 2 of 2 (channel 1 is silent)", 40),
    ("dead with an offset", lambda x: [x, 0 * x + 0.3], "channel 1 of 2 (channel 2 is silent)", 40),
    ("dead with a whisper of noise", lambda x: [noise(1e-5), x], "channel 2 of 2 (channel 1 is silent)", 40),
    ("offset on one", lambda x: [x + 0.25, x], "the mean of 2 channels", 40),
    ("only noise on one", lambda x: [x, noise(0.1)], "channel 1 of 2 (channel 2 holds only noise)", 40),
    ("speech below noise on one", lambda x: [x, x + noise(0.3)], "channel 1 of 2 (channel 2 holds only noise)", 40),
    ("loud noise on the first", lambda x: [noise(0.2), x], "channel 2 of 2 (channel 1 holds only noise)", 40),
    ("some noise on one", lambda x: [x, x + noise(0.01)], "the mean of 2 channels", 15),
    ("hum on one", lambda x: [x + noise(0.001), hum(0.3)], "channel 1 of 2", 20),
    ("noise that swells", lambda x: [x, noise(0.1) * swell()], "channel 1 of 2 (channel 2 holds only noise)", 40),
    (
        "six channels",
        lambda x: [0 * x, 0 * x, x, noise(1e-5), 0 * x, -0 * x],
        "channel 3 of 6 (channel 1 is silent",
        40,
    ),
    ("three microphones", lambda x: [x, 0.5 * x, -0.7 * x], "the mean of 3 channels (channel 3 is in opposite", 40),
    (
        "half in opposite phase",
        lambda x: [x, np.where(np.arange(len(x)) < len(x) // 2, x, -x)],
        "channel 1 of 2 (in",
        40,
    ),
]


@pytest.mark.parametrize(("make", "said", "least"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_speech_is_kept_and_the_channels_named(sound, tmp_path: Path, caplog, make, said: str, least: float) -> None:
    speech = sound.talk(SECONDS)
    samples, note = through_the_gate(sound, tmp_path, caplog, make(speech))
    high = np.diff(samples), np.diff(speech)  # without hum
    assert snr(*high) > least, note
    assert said in note and "\n" not in note


def test_ordinary_stereo_is_the_mean(sound, tmp_path: Path, caplog) -> None:
    left = sound.talk(SECONDS) + noise(0.002, 1)
    right = 0.7 * np.roll(sound.talk(SECONDS), 1) + noise(0.002, 2)
    samples, note = through_the_gate(sound, tmp_path, caplog, [left, right])
    assert note == "the mean of 2 channels" and np.abs(samples - (left + right) / 2).max() < 2e-4


def test_two_speakers_on_two_channels_are_both_kept(sound, tmp_path: Path, caplog) -> None:
    first, second = sound.talk(SECONDS, seed=1), sound.talk(SECONDS, seed=2)
    first[: SECONDS * RATE // 2] = 0
    second[SECONDS * RATE // 2 :] = 0
    samples, note = through_the_gate(sound, tmp_path, caplog, [first + noise(0.001, 3), second + noise(0.003, 4)])
    assert note == "the mean of 2 channels" and snr(samples, first + second) > 15


def test_digital_silence_between_channels_that_take_turns(sound, tmp_path: Path, caplog) -> None:
    speech = sound.talk(SECONDS)
    turns = (np.arange(len(speech)) // RATE) % 2
    samples, note = through_the_gate(sound, tmp_path, caplog, [speech * turns, speech * (1 - turns)])
    assert note == "the mean of 2 channels" and snr(samples, speech) > 40


def test_the_measure_does_not_depend_on_the_blocks(sound) -> None:
    stereo = np.stack([sound.talk(SECONDS), -sound.talk(SECONDS) + noise(0.01)])
    mixes = []
    for size in (100, 4096, 100_000):
        meter = ChannelMeter(2, RATE)
        for begin in range(0, stereo.shape[1], size):
            meter.add(stereo[:, begin : begin + size])
        mixes.append(meter.mix())
    assert mixes[0].weights == mixes[1].weights == mixes[2].weights == (0.5, -0.5)
    assert mixes[0].note == mixes[2].note
