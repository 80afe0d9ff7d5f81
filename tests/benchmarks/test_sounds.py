"""The sounds of the benchmark of damage have the power, decay and band that they state, and move nothing in time."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import sounds
from lhotse_prep.audio.inspect import SAMPLE_RATE

AT = np.arange(1.0, 59.0, 2.0)  # seconds of the ticks


def ticks() -> sounds.Samples:
    """A minute of soft noise with a tick of 10 ms around each time of AT."""
    samples = 0.003 * sounds.pink_noise(60 * SAMPLE_RATE, np.random.default_rng(0))
    tick = 0.8 * np.hanning(160) * np.sin(2 * np.pi * 1000 * np.arange(160) / SAMPLE_RATE)
    for at in AT:
        samples[round(at * SAMPLE_RATE) - 80 :][:160] += tick.astype(np.float32)
    return samples


def loudest(samples: sounds.Samples, near: np.ndarray) -> np.ndarray:
    """When the loudest sample within 0.1 s of each time is, in seconds."""
    reach = round(0.1 * SAMPLE_RATE)
    begin = np.round(near * SAMPLE_RATE).astype(int) - reach
    return np.array([(b + np.abs(samples[b : b + 2 * reach]).argmax()) / SAMPLE_RATE for b in begin.tolist()])


@pytest.mark.parametrize("sound", ["pink_noise", "music", "claps"])
@pytest.mark.parametrize("snr", [20, 5])
def test_noise_has_the_ratio_that_was_asked(sound: str, snr: float) -> None:
    rng = np.random.default_rng(1)
    speech = np.array([[16_000, 80_000], [160_000, 400_000]])
    samples = np.zeros(30 * SAMPLE_RATE, np.float32)
    for begin, end in speech:
        samples[begin:end] = 0.1 * np.sin(np.arange(end - begin))
    noise = getattr(sounds, sound)(len(samples), rng)
    added = (sounds.with_noise(samples, noise, snr, speech) - samples).astype(np.float64)
    power = (added[noise != 0] ** 2).mean()
    assert abs(10 * np.log10(0.1**2 / 2 / power) - snr) < 0.5


def test_babble_has_unit_power_and_is_several_voices() -> None:
    rng = np.random.default_rng(2)
    low, high = (np.sin(2 * np.pi * f * np.arange(8000) / SAMPLE_RATE).astype(np.float32) for f in (400, 2000))
    noise = sounds.babble([low, high], 20_000, rng, num_voices=8)
    assert (noise.astype(np.float64) ** 2).mean() == pytest.approx(1.0, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(noise[:16_000]))
    assert spectrum[[400, 2000]].min() > 50 * np.median(spectrum)


@pytest.mark.parametrize("t60", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_a_room_decays_as_long_as_was_asked(t60: float, seed: int) -> None:
    response = sounds.room_response(t60, np.random.default_rng(seed)).astype(np.float64)
    level = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / (response**2).sum())  # Schroeder 1965
    fitted = np.flatnonzero((level < -5) & (level > -35))
    slope = np.polyfit(fitted / SAMPLE_RATE, level[fitted], 1)[0]  # dB a second
    assert -60 / slope == pytest.approx(t60, rel=0.15)
    assert response[0] == 1.0 and (response[1:] ** 2).sum() == pytest.approx(1.0, abs=1e-3)


def test_a_room_is_a_convolution_at_the_same_loudness() -> None:
    rng = np.random.default_rng(3)
    samples, response = rng.standard_normal(500).astype(np.float32), rng.standard_normal(60).astype(np.float32)
    wet = np.convolve(samples, response)[:500]
    wet *= np.sqrt((samples**2).mean() / (wet**2).mean())
    np.testing.assert_allclose(sounds.reverberated(samples, response), wet, atol=1e-4)


def test_a_telephone_has_its_band_only() -> None:
    samples = np.random.default_rng(4).standard_normal(4 * SAMPLE_RATE).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(sounds.telephone(samples))) / np.abs(np.fft.rfft(samples))
    hertz = np.arange(len(spectrum)) / 4
    inside = (hertz > 400) & (hertz < 3300)
    assert np.median(spectrum[inside]) == pytest.approx(1.0, abs=0.01)
    assert np.quantile(spectrum[(hertz < 200) | (hertz > 3500)], 0.99) < 0.05


def test_sounds_stay_where_they_are() -> None:
    samples = ticks()
    response = sounds.room_response(0.6, np.random.default_rng(5))
    for changed in (samples, sounds.telephone(samples), sounds.reverberated(samples, response)):
        np.testing.assert_allclose(loudest(changed, AT), AT, atol=1e-3)


@pytest.mark.skipif(not sounds.can_write_mp3(), reason="soundfile's library does not write MP3")
def test_mp3_has_its_bit_rate_and_no_delay() -> None:
    samples = ticks()
    decoded = sounds.through_mp3(samples)
    assert len(decoded) == len(samples)
    np.testing.assert_allclose(loudest(decoded, AT), AT, atol=2e-3)
    assert len(sounds.mp3_bytes(samples)) * 8 / 60 == pytest.approx(32_000, rel=0.02)
    assert not np.array_equal(decoded, samples)


@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_tempo_scales_times_and_keeps_the_pitch(rate: float) -> None:
    changed = sounds.tempo(ticks(), rate)
    assert len(changed) == round(60 * SAMPLE_RATE / rate)
    np.testing.assert_allclose(loudest(changed, AT / rate), AT / rate, atol=0.015)
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    slice_ = sounds.tempo(tone, rate)[:SAMPLE_RATE]
    assert np.abs(np.fft.rfft(slice_)).argmax() == pytest.approx(440, abs=2)
    assert np.abs(slice_[2000:-2000]).max() == pytest.approx(1.0, abs=0.1)


def test_a_filler_is_a_vowel_of_its_pitch() -> None:
    vowel = sounds.filler(0.5, 150.0, np.random.default_rng(6))
    assert len(vowel) == 8000 and (vowel.astype(np.float64) ** 2).mean() == pytest.approx(1.0, abs=1e-3)
    lags = np.correlate(vowel[2000:6000], vowel[2000:6000], "full")[4000:]
    assert SAMPLE_RATE / (60 + lags[59:200].argmax()) == pytest.approx(145, abs=10)  # it falls by up to a tenth
    assert np.abs(vowel[[0, -1]]).max() < 0.05


def test_quiet_is_as_loud_as_the_pauses() -> None:
    rng = np.random.default_rng(7)
    samples = np.concatenate([0.2 * rng.standard_normal(40_000), 0.01 * rng.standard_normal(40_000)])
    assert sounds.quiet(16_000, samples.astype(np.float32), rng).std() == pytest.approx(0.01, rel=0.15)
