"""Measures the channels of a recording, and chooses what of them becomes the one that is recognised.

Ordinary stereo becomes the mean. Channels that are silent or hold nothing but noise are left out, those in opposite
phase are inverted, and where the mean would still lose what a channel says, one channel is taken.

C channels, F frames of 64 ms, K bins between 200 and 3800 Hz, T samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FRAME = 0.064  # seconds
_BAND = (200.0, 3800.0)  # Hz, where speech is
_FLOOR = 1e-8  # of full scale, squared; quieter frames count as this
_SILENT = 1e-4  # energy of a silent channel, relative to the loudest
_NOISE_RANGE = 12.0  # dB between loud and quiet moments of a channel; speech has more
_FLAT = (
    0.2,
    0.3,
)  # flatness of loud frames' spectra (0 to 1): speech has less than the first, noise more than the second
_RANGE_DIFFERENCE = 10.0  # dB; only where another channel has so much more, noise is left out
_OPPOSITE = -0.5  # correlation below which a channel is inverted
_SPEECH = 1e-3  # energy of a frame relative to loud ones, above which it counts
_LOST = 0.2  # of a channel's energy, divided by C^2: a mix with less has lost it
_MAX_LOST = 0.02  # share of the frames that a mix may lose
_MIN_OFFSET = 1e-3  # constant in the samples that is worth taking away


@dataclass(frozen=True)
class Mix:
    """How channels become one: a weighted sum of them without their constants."""

    weights: tuple[float, ...]
    offsets: tuple[float, ...]
    note: str = ""  # which were taken, and why; empty for a single one

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(C, T) -> (T,)."""
        if len(samples) == 1:
            return np.asarray(samples[0])
        if any(self.offsets):
            samples = (samples - np.array(self.offsets)[:, None]).astype(np.float32)
        mixed: NDArray[np.float32] = np.array(self.weights, np.float32) @ samples
        return mixed


class ChannelMeter:
    """Measures the channels of a recording as its samples pass."""

    def __init__(self, num_channels: int, rate: int) -> None:
        self.num_channels = num_channels
        self._length = max(2, round(_FRAME * rate))
        self._window = np.hanning(self._length).astype(np.float32)
        frequencies = np.fft.rfftfreq(self._length, 1 / rate)
        self._bins = (frequencies >= _BAND[0]) & (frequencies <= min(_BAND[1], 0.95 * rate / 2))
        self._rest = np.zeros((num_channels, 0), np.float32)
        self._energies: list[NDArray[np.float32]] = []  # (C, C, F'): of channels and of their products
        self._flatness: list[NDArray[np.float32]] = []  # (C, F'): geometric over arithmetic mean of the bins
        self._sums = np.zeros(num_channels)
        self._num_samples = 0

    def add(self, samples: NDArray[np.float32]) -> None:
        """The next samples, (C, T)."""
        self._sums += samples.sum(axis=1, dtype=np.float64)
        self._num_samples += samples.shape[1]
        samples = np.concatenate([self._rest, samples], axis=1)
        num_frames = samples.shape[1] // self._length
        self._rest = samples[:, num_frames * self._length :]
        frames = samples[:, : num_frames * self._length].reshape(self.num_channels, num_frames, self._length)
        if not num_frames:
            return
        spectra = np.fft.rfft(frames * self._window, axis=2)[:, :, self._bins]
        scale = 2 / (self._length * float((self._window**2).sum()))
        self._energies.append((scale * np.einsum("cfk,dfk->cdf", spectra, spectra.conj()).real).astype(np.float32))
        powers = np.abs(spectra) ** 2 + 1e-12
        self._flatness.append((np.exp(np.log(powers).mean(axis=2)) / powers.mean(axis=2)).astype(np.float32))

    def range(self) -> float:
        """dB between the loud and the quiet moments of the channel that has most."""
        energies, _ = self._all()
        return float(_ranges(np.einsum("ccf->cf", energies)).max()) if energies.shape[2] else 0.0

    def mix(self) -> Mix:
        """What to take of the channels."""
        count = self.num_channels
        if count == 1:
            return Mix((1.0,), (0.0,))
        means = self._sums / max(1, self._num_samples)
        offsets = tuple(float(x) for x in means * (np.abs(means).max() > _MIN_OFFSET))
        energies, flatness = self._all()
        if not energies.shape[2]:
            return Mix((1 / count,) * count, offsets, f"the mean of {count} channels")
        weights, note = _choose(energies, flatness)
        return Mix(tuple(float(w) for w in weights), offsets, note)

    def _all(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Energies (C, C, F) and flatness (C, F) of the frames in which there is any sound."""
        empty = np.zeros((self.num_channels, self.num_channels, 0), np.float32)
        energies = np.concatenate([empty, *self._energies], axis=2)
        flatness = np.concatenate([empty[0], *self._flatness], axis=1)
        sounds = np.einsum("ccf->f", energies) > 0
        return energies[:, :, sounds], flatness[:, sounds]


def _ranges(energies: NDArray[np.float32]) -> NDArray[np.float64]:
    """(C,) dB between the loud and the quiet moments of channels, of the energies (C, F)."""
    quiet, loud = np.quantile(10 * np.log10(np.maximum(energies, _FLOOR)), (0.1, 0.95), axis=1)
    difference: NDArray[np.float64] = loud - quiet
    return difference


def _loud_flatness(energies: NDArray[np.float32], flatness: NDArray[np.float32]) -> NDArray[np.float64]:
    """(C,) flatness of the spectrum in the loud moments of channels, of the energies and flatness (C, F)."""
    loud = energies >= np.quantile(energies, 0.7, axis=1, keepdims=True)
    return np.array([np.median(f[chosen]) for f, chosen in zip(flatness, loud)], dtype=np.float64)


def _choose(products: NDArray[np.float32], flatness: NDArray[np.float32]) -> tuple[NDArray[np.float64], str]:
    """Weights of the channels, and which they are; products: (C, C, F), flatness: (C, F)."""
    count = len(products)
    energies = np.einsum("ccf->cf", products)
    means, ranges = energies.mean(axis=1, dtype=np.float64), _ranges(energies)
    silent = means < max(_SILENT * float(means.max()), _FLOOR / 100)
    if silent.all():
        return np.full(count, 1 / count), f"the mean of {count} channels"
    flat = _loud_flatness(energies, flatness)
    noise = ~silent & (flat > _FLAT[1]) & bool((flat[~silent] < _FLAT[0]).any())
    best = int(np.argmax(np.where(silent | noise, -1.0, ranges + 1e-3 * 10 * np.log10(means + _FLOOR))))
    noise |= ~silent & (ranges < _NOISE_RANGE) & (ranges + _RANGE_DIFFERENCE < ranges[best])
    kept = np.flatnonzero(~silent & ~noise)
    left_out = [f"channel {i + 1} is silent" for i in np.flatnonzero(silent)]
    left_out += [f"channel {i + 1} holds only noise" for i in np.flatnonzero(noise)]
    sums = products.sum(axis=2, dtype=np.float64)
    correlation = sums[:, best] / np.sqrt(np.maximum(np.diag(sums) * sums[best, best], 1e-30))
    signs = np.where(correlation < _OPPOSITE, -1.0, 1.0)
    signs *= signs[kept[0]]
    weights = np.zeros(count)
    weights[kept] = signs[kept] / len(kept)
    if len(kept) == 1:
        return _single(int(kept[0]), count), _named(kept, count, left_out)
    candidates = [weights, *(_single(int(i), count) for i in kept)]
    losses = [_loss(w, products, energies[kept]) for w in candidates]
    if losses[0] > _MAX_LOST and min(losses[1:]) < losses[0]:
        taken = 1 + int(np.argmin(losses[1:]))
        left_out.append("in the mean channels would cancel each other")
        return candidates[taken], _named(kept[taken - 1 : taken], count, left_out)
    left_out += [f"channel {i + 1} is in opposite phase and was inverted" for i in kept if signs[i] < 0]
    return weights, _named(kept, count, left_out)


def _single(channel: int, count: int) -> NDArray[np.float64]:
    weights = np.zeros(count)
    weights[channel] = 1.0
    return weights


def _loss(weights: NDArray[np.float64], products: NDArray[np.float32], energies: NDArray[np.float32]) -> float:
    """Share of the frames with speech in which a mix has next to nothing of the loudest channel."""
    loudest = energies.max(axis=0)
    counts = loudest > max(_SPEECH * float(np.quantile(loudest, 0.95)), _FLOOR)
    mixed = np.einsum("c,cdf,d->f", weights, products, weights)
    return float((mixed < _LOST / len(energies) ** 2 * loudest)[counts].mean()) if counts.any() else 0.0


def _named(kept: NDArray[np.int64], count: int, reasons: list[str]) -> str:
    names = " and ".join(str(i + 1) for i in kept)
    if len(kept) == 1:
        text = f"channel {names} of {count}"
    elif len(kept) == count:
        text = f"the mean of {count} channels"
    else:
        text = f"the mean of channels {names} of {count}"
    return f"{text} ({', '.join(reasons)})" if reasons else text
