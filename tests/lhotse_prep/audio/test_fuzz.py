"""Random truncations, flipped bits and zeroed stretches of ten forms: right sound, or one line that names the file."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.audio.inspect import AudioError

RATE = 16_000
SECONDS = 3
WINDOW = RATE // 4
TOLERANCE = 0.12  # seconds that may be missing at the end, or be off: less than a word
FORMS: dict[str, Callable[[Any, Path], object]] = {
    "a.wav": lambda s, p: sf.write(p, s.talk(SECONDS), RATE),
    "b.wav": lambda s, p: sf.write(p, s.talk(SECONDS, 44_100), 44_100, subtype="PCM_24"),
    "a.flac": lambda s, p: sf.write(p, s.talk(SECONDS), RATE),
    "a.mp3": lambda s, p: s.encode(p, s.talk(SECONDS, 44_100), 44_100, "libmp3lame"),
    "a.m4a": lambda s, p: s.encode(p, s.talk(SECONDS, 48_000), 48_000, "aac"),
    "a.aac": lambda s, p: s.encode(p, s.talk(SECONDS, 48_000), 48_000, "aac", container="adts"),
    "a.ogg": lambda s, p: s.encode(p, s.talk(SECONDS, 48_000), 48_000, "libopus"),
    "b.ogg": lambda s, p: sf.write(p, s.talk(SECONDS, 48_000), 48_000, format="OGG", subtype="VORBIS"),
    "a.mkv": lambda s, p: s.encode(p, s.talk(SECONDS, 48_000), 48_000, "aac"),
    "a.webm": lambda s, p: s.encode(p, s.talk(SECONDS, 48_000), 48_000, "libopus"),
    "a.mp4": lambda s, p: s.encode(p, s.talk(SECONDS, 48_000), 48_000, "aac", video=True),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, sound_functions: Any) -> dict[str, tuple[bytes, np.ndarray]]:
    """{name: content of the file, what comes out of the gate}."""
    folder = tmp_path_factory.mktemp("originals")
    files = {}
    for name, make in FORMS.items():
        make(sound_functions, folder / name)
        files[name] = ((folder / name).read_bytes(), sound_functions.passed(folder / name))
    return files


def changed(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    kind = rng.choice(["cut", "flip", "flip", "head", "tail", "zeros"])
    if kind == "cut":
        size = rng.randrange(1, len(content))
        return content[:size], f"cut to {size} bytes"
    result = bytearray(content)
    if kind == "zeros":
        at, size = rng.randrange(len(result)), rng.randint(1, 3000)
        result[at : at + size] = bytes(len(result[at : at + size]))
        return bytes(result), f"zeros at {at}, {size} bytes"
    at = rng.randrange({"flip": len(result), "head": 600, "tail": 1500}[kind])
    at = len(result) - 1 - at if kind == "tail" else at
    bit = 1 << rng.randrange(8)
    result[at] ^= bit
    return bytes(result), f"byte {at} ^ {bit}"


def wrong_windows(samples: np.ndarray, expected: np.ndarray) -> int:
    """Quarters of a second of what was expected that are not where they should be."""
    count = 0
    reach = round(TOLERANCE * RATE)
    for begin in range(0, min(len(samples), len(expected)) - WINDOW, WINDOW):
        x, y = samples[begin : begin + WINDOW], expected[begin : begin + WINDOW]
        products = np.fft.irfft(np.fft.rfft(x, 2 * WINDOW) * np.fft.rfft(y, 2 * WINDOW).conj())
        near = np.concatenate([products[-reach:], products[: reach + 1]]).max()
        count += near < 0.7 * np.sqrt(float(x @ x) * float(y @ y)) and float(y @ y) > 1e-3
    return int(count)


def check(seed: int, originals: dict[str, tuple[bytes, np.ndarray]], sound: Any, folder: Path, caplog) -> str:
    """Returns "refused" or "right"."""
    name = list(FORMS)[seed % len(FORMS)]
    content, expected = originals[name]
    content, what = changed(content, random.Random(seed))
    path = folder / f"{seed}-{name}"
    path.write_bytes(content)
    caplog.clear()
    try:
        samples = sound.passed(path)
    except AudioError as e:
        assert str(path) in str(e) and "\n" not in str(e) and ".tmp" not in str(e) and "Error:" not in str(e), (what, e)
        return "refused"
    said = any(word in caplog.text for word in ("silence put in", "left out", "declares only a part"))
    difference = (len(samples) - len(expected)) / RATE
    assert said or abs(difference) <= TOLERANCE, f"{path.name}, {what}: {difference:+.2f} s"
    # a change inside a packet may spoil it and those that build on it, never the place of the others
    assert said or wrong_windows(samples, expected) <= 2, f"{path.name}, {what}"
    return "right"


@pytest.mark.parametrize("group", range(4))
def test_200_damaged_files(group: int, originals, sound, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    results = [check(seed, originals, sound, tmp_path, caplog) for seed in range(50 * group, 50 * group + 50)]
    assert min(results.count("right"), results.count("refused")) >= 10


@pytest.mark.slow
def test_3000_damaged_files(originals, sound, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    for seed in range(1000, 4000):
        check(seed, originals, sound, tmp_path, caplog)
