"""Sound with a true time everywhere, and files of all forms made of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.convert import as_16k_mono
from lhotse_prep.audio.inspect import AudioError

RATE = 16_000
Array = np.ndarray[Any, np.dtype[np.float32]]


def talk(seconds: float, rate: int = RATE, seed: int = 0) -> Array:
    """Syllables of random pitch with pauses between them: no two moments are alike."""
    return _talk(seconds, rate, seed).copy()


@lru_cache(maxsize=50)
def _talk(seconds: float, rate: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    samples = np.zeros(int(seconds * rate))
    begin = 0.05
    while begin < seconds:
        length = rng.uniform(0.08, 0.2)
        inside = slice(math.ceil(begin * rate), min(len(samples), math.ceil((begin + length) * rate)))
        local = np.arange(inside.start, max(inside.start, inside.stop)) / rate - begin
        pitch = rng.uniform(250, 2500)
        tone = np.sin(2 * np.pi * (pitch * local + rng.uniform(-2000, 2000) * local**2)) * rng.uniform(0.2, 0.4)
        samples[inside] = tone * np.sin(np.pi * local / length)
        begin += length + rng.choice([0.03, 0.06, 0.15])
    return samples.astype(np.float32)


def encode(path: Path, samples: Array, rate: int, codec: str, **options: Any) -> Path:
    """Write samples (T,) or (C, T).

    Options: layout; container; first, the time of the first sample in seconds; holes, [(at second, seconds)], which
    have no packets; container_options; codec_options; video, to add one that is black (seconds: at least so long).
    """
    samples = samples[None] if samples.ndim == 1 else samples
    layout = options.get("layout", "mono" if len(samples) == 1 else "stereo")
    holes = options.get("holes", [])
    with av.open(str(path), "w", format=options.get("container"), options=options.get("container_options", {})) as out:
        if options.get("video"):
            video = out.add_stream("mpeg4", rate=5)
            video.width = video.height = 32
        stream = out.add_stream(codec, rate=rate, layout=layout, options=options.get("codec_options", {}))
        if options.get("video"):
            for _ in range(int(5 * max(samples.shape[1] / rate, options["video"]))):
                out.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
            out.mux(video.encode(None))
        size = stream.codec_context.frame_size or 1024
        for begin in range(0, samples.shape[1], size):
            block = np.clip(samples[:, begin : begin + size], -1, 1) * 32767
            content = np.ascontiguousarray(block.T.astype(np.int16)).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(content, format="s16", layout=layout)
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            shift = options.get("first", 0.0) + sum(length for at, length in holes if begin >= at * rate)
            frame.pts = begin + round(shift * rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def refused(path: Path, message: str, check: str | None = None) -> AudioError:
    """The one-line error with which a file is refused; it names the file, and matches `message`."""
    with pytest.raises(AudioError, match=message) as error:
        as_16k_mono(path, path.parent, AudioLimits())
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert check is None or error.value.check == check
    return error.value


def passed(path: Path, limits: AudioLimits | None = None) -> Array:
    """The samples that come out of the gate."""
    work = path.parent / f"{path.name}.work"
    work.mkdir(exist_ok=True)
    result = as_16k_mono(path, work, limits or AudioLimits())
    samples, rate = sf.read(result, dtype="float32")
    assert rate == RATE and samples.ndim == 1
    return samples


def place(samples: Array, piece: Array, near: int, reach: int = 4800) -> tuple[int, float]:
    """Where a piece is found within `reach` samples of a place, and the correlation there."""
    begin = max(0, near - reach)
    window = samples[begin : near + reach + len(piece)].astype(np.float64)
    if len(window) < len(piece):
        return -1, 0.0
    size = len(window) + len(piece)
    products = np.fft.irfft(np.fft.rfft(window, size) * np.fft.rfft(piece, size).conj(), size)
    products = products[: len(window) - len(piece) + 1]
    sums = np.concatenate([[0.0], np.cumsum(window**2)])
    energies = sums[len(piece) :] - sums[: len(products)]
    values = products / np.sqrt(np.maximum(energies * float((piece.astype(np.float64) ** 2).sum()), 1e-9))
    best = int(np.argmax(values))
    return begin + best, float(values[best])


def offsets(samples: Array, source: Array, where: Callable[[float], float] = lambda t: t) -> list[float]:
    """Seconds by which each half second of the source at 16 kHz lies off `where(t)`; NaN if it is nowhere near."""
    shifts = []
    for begin in range(0, len(source) - RATE // 2, RATE // 2):
        expected = round(where(begin / RATE) * RATE)
        at, correlation = place(samples, source[begin : begin + RATE // 2], expected)
        shifts.append((at - expected) / RATE if correlation > 0.8 else float("nan"))
    return shifts


@pytest.fixture
def sound(sound_functions: SimpleNamespace) -> SimpleNamespace:
    """The functions of this file."""
    return sound_functions


@pytest.fixture(scope="session")
def sound_functions() -> SimpleNamespace:
    """The same, for fixtures of a larger scope."""
    return SimpleNamespace(talk=talk, encode=encode, passed=passed, refused=refused, place=place, offsets=offsets)
