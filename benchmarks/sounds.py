"""Sounds that lectures suffer from, by synthesis: noises, rooms, a telephone's band, MP3, other tempos, fillers.

Samples are float32 at 16 kHz. None of the functions moves a sound in time, except `tempo`, which scales all times.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE

Samples = NDArray[np.float32]
_PENTATONIC = 220.0 * 2 ** (np.array([0, 2, 4, 7, 9, 12, 14, 16]) / 12)  # Hz
_BEAT = 0.4  # seconds
_CLAP = 0.03  # seconds, length of a clap
_TAIL_BEGINS = 0.003  # seconds after the direct sound
_WINDOW, _HOP, _SEARCH = (round(seconds * SAMPLE_RATE) for seconds in (0.04, 0.02, 0.01))  # of tempo
_MP3_KBITS = (8, 160)  # of MPEG-2, the slowest and the fastest; libsndfile's compression level is 1 and 0 there


def pink_noise(num_samples: int, rng: np.random.Generator) -> Samples:
    """Noise of unit power, whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples, np.float32))
    return _unit(np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), num_samples))


def babble(voices: Sequence[Samples], num_samples: int, rng: np.random.Generator, num_voices: int = 4) -> Samples:
    """Several people who speak at once, of unit power: pieces of `voices` from random places, repeated if short."""
    total = np.zeros(num_samples)
    for _ in range(num_voices):
        voice = voices[int(rng.integers(len(voices)))]
        total += _unit(np.resize(np.roll(voice, -int(rng.integers(len(voice)))), num_samples))
    return _unit(total)


def claps(num_samples: int, rng: np.random.Generator, every: float = 10.0) -> Samples:
    """Bursts of one to 40 claps, one burst each `every` seconds or so, and zeros between them; peaks of about 1."""
    noise = np.zeros(num_samples, np.float32)
    size = round(_CLAP * SAMPLE_RATE)
    decay = np.exp(-np.arange(size) / (size / 5))
    at = rng.exponential(every / 2)
    while at * SAMPLE_RATE + size < num_samples:
        burst = at
        for _ in range(int(rng.integers(1, 41))):
            begin = round(burst * SAMPLE_RATE)
            piece = noise[begin : begin + size]
            piece += (rng.uniform(-1, 1, size) * decay)[: len(piece)]
            burst += rng.uniform(0.02, 0.15)
        at = burst + rng.exponential(every)
    return noise


def music(num_samples: int, rng: np.random.Generator) -> Samples:
    """Plucked notes of a pentatonic scale, three at each beat, of unit power."""
    size, step = round(4 * _BEAT * SAMPLE_RATE), round(_BEAT * SAMPLE_RATE)
    t = np.arange(size) / SAMPLE_RATE
    notes = [sum(np.sin(2 * np.pi * h * f * t) * np.exp(-h * t / _BEAT) / h for h in range(1, 6)) for f in _PENTATONIC]
    played = np.zeros(num_samples + size)
    for begin in range(0, num_samples, step):
        for note in rng.choice(len(notes), 3, replace=False):
            played[begin : begin + size] += rng.uniform(0.3, 1.0) * notes[note]
    return _unit(played[:num_samples])


def with_noise(samples: Samples, noise: Samples, snr: float, speech: NDArray[np.int64]) -> Samples:
    """Samples with noise, `snr` dB below the mean power of the speech where it is not zero.

    Args:
      samples: of a recording.
      noise: as many.
      snr: dB.
      speech: (S, 2) stretches of speech in samples, over which its power is measured.
    """
    is_speech = np.zeros(len(samples) + 1, np.int64)
    np.add.at(is_speech, speech[:, 0], 1)
    np.add.at(is_speech, speech[:, 1], -1)
    speaking = samples[np.cumsum(is_speech)[:-1] > 0]
    level = np.sqrt(_power(speaking) / _power(noise[noise != 0])) * 10 ** (-snr / 20)
    noisy: Samples = (samples + level * noise).astype(np.float32)
    return noisy


def room_response(t60: float, rng: np.random.Generator, direct_ratio: float = 0.0) -> Samples:
    """The impulse response of a room: the direct sound, of amplitude 1 at sample 0, and a tail of decaying noise.

    Args:
      t60: seconds in which the tail falls by 60 dB.
      rng: of the tail.
      direct_ratio: energy of the direct sound over that of the tail, dB.
    """
    t = np.arange(round(1.3 * t60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / t60)
    tail[t < _TAIL_BEGINS] = 0.0
    tail *= 10 ** (-direct_ratio / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return tail.astype(np.float32)


def reverberated(samples: Samples, response: Samples) -> Samples:
    """Samples in a room, as loud as before; the reverberation after the last sample is left out."""
    size = len(samples) + len(response) - 1
    size = 1 << (size - 1).bit_length()  # the transform of other lengths is slow
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    as_loud: Samples = (wet * np.sqrt(_power(samples) / _power(wet))).astype(np.float32)
    return as_loud


def telephone(samples: Samples, low: float = 300.0, high: float = 3400.0, edge: float = 100.0) -> Samples:
    """Samples without what is outside a telephone's band (Hz); the edges are `edge` Hz wide, and no time is moved."""
    size = 1 << (len(samples) - 1).bit_length()
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    gain = np.clip((frequency - low) / edge + 0.5, 0, 1) * np.clip((high - frequency) / edge + 0.5, 0, 1)
    return np.fft.irfft(np.fft.rfft(samples, size) * gain, size)[: len(samples)].astype(np.float32)


def can_write_mp3() -> bool:
    """Whether soundfile's library writes MP3."""
    return "MP3" in sf.available_formats()


def mp3_bytes(samples: Samples, kbits: float = 32.0) -> bytes:
    """An MP3 file of constant `kbits` thousand bits a second; samples beyond 1 are clipped."""
    slowest, fastest = _MP3_KBITS
    file = io.BytesIO()
    level = (fastest - kbits) / (fastest - slowest)
    options = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": level}
    sf.write(file, np.clip(samples, -1, 1), SAMPLE_RATE, **options)
    return file.getvalue()


def through_mp3(samples: Samples, kbits: float = 32.0) -> Samples:
    """Samples after MP3 and back, as many as before and without the delay of the codec."""
    decoded = _decoded(samples, kbits)[_mp3_delay(kbits) :]
    return np.pad(decoded, (0, max(0, len(samples) - len(decoded))))[: len(samples)]


def _decoded(samples: Samples, kbits: float) -> Samples:
    decoded: Samples
    decoded, rate = sf.read(io.BytesIO(mp3_bytes(samples, kbits)), dtype="float32")
    assert rate == SAMPLE_RATE
    return decoded


@functools.cache
def _mp3_delay(kbits: float) -> int:
    """Samples by which encoder and decoder delay a sound together: some libraries take it off, and some do not."""
    probe = 0.3 * telephone(np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32))
    size = 4 * SAMPLE_RATE
    decoded, sent = np.fft.rfft(_decoded(probe, kbits), size), np.fft.rfft(probe, size)
    return int(np.fft.irfft(decoded * sent.conj(), size)[: size // 2].argmax())


def tempo(samples: Samples, rate: float) -> Samples:
    """Samples `rate` times as fast at the same pitch: what was at t seconds is at t / rate, within 15 ms.

    WSOLA (Verhelst and Roelands 1993): windows overlap by half, and each is taken from where, within 10 ms of its
    place, it continues the window before it best.
    """
    num_out = round(len(samples) / rate)
    margin = _WINDOW + _SEARCH + _HOP
    padded = np.pad(samples, (margin, round(margin * max(1.0, rate)) + _WINDOW))
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    out = np.zeros(num_out + 2 * _WINDOW, np.float32)
    place = margin - _WINDOW // 2
    for begin in range(0, num_out + _WINDOW // 2, _HOP):  # a window around each sample `begin`
        ideal = margin + round(begin * rate) - _WINDOW // 2
        if begin:
            wanted = padded[place + _HOP : place + _HOP + _WINDOW]
            around = padded[ideal - _SEARCH : ideal + _SEARCH + _WINDOW]
            place = ideal - _SEARCH + int(np.argmax(np.correlate(around, wanted, "valid")))
        out[begin : begin + _WINDOW] += window * padded[place : place + _WINDOW]
    return out[_WINDOW // 2 : _WINDOW // 2 + num_out]


def filler(seconds: float, pitch: float, rng: np.random.Generator) -> Samples:
    """A vowel like "uh" of unit power: harmonics of a slightly falling pitch (Hz) under three formants."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * pitch * (t - 0.1 * t**2 / (2 * seconds))
    formants = np.array([500.0, 1400.0, 2400.0]) * rng.uniform(0.9, 1.1)
    harmonics = np.arange(1, int(4000 / pitch))
    gains = (np.exp(-(((pitch * harmonics[:, None] - formants) / 150) ** 2)) * [1.0, 0.4, 0.15]).sum(axis=1) + 0.01
    voiced = sum(g * np.sin(h * phase) for h, g in zip(harmonics, gains))
    return _unit(voiced * np.minimum(1.0, np.minimum(t, t[::-1]) / 0.04))


def quiet(num_samples: int, samples: Samples, rng: np.random.Generator) -> Samples:
    """Noise as loud as the quietest tenth of a recording."""
    frames = samples[: len(samples) // 400 * 400].reshape(-1, 400)
    level = np.sqrt(np.quantile((frames.astype(np.float64) ** 2).mean(axis=1), 0.1)) if len(frames) else 0.0
    return (level * pink_noise(num_samples, rng)).astype(np.float32)


def _power(samples: NDArray[np.floating]) -> float:
    return float((samples.astype(np.float64) ** 2).mean())


def _unit(samples: NDArray[np.floating]) -> Samples:
    unit: Samples = (samples / np.sqrt(_power(samples))).astype(np.float32)
    return unit
