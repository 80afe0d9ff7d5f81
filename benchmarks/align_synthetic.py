"""Synthetic CTC emissions of a lecture, and transcripts with faults, for the benchmarks of the aligner.

Tokens come in phrases with pauses between them. The model has a peak of one to three frames near a token's time. Some
peaks are on a wrong unit, weak or missing, and some are where nobody speaks. Between peaks, blank is nearly certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 25
NUM_UNITS = 600  # including blank


@dataclass(frozen=True)
class Noise:
    """The errors of the model."""

    confused: float = 0.08  # fraction of the peaks with a wrong best unit
    missed: float = 0.02  # fraction of the peaks that are missing
    invented: float = 0.02  # additional peaks of random units, as a fraction of the tokens
    floor: float = 1.5  # standard deviation of the logits


CLEAN = Noise(0.02, 0.005, 0.005, 1.0)
MEDIUM = Noise()
HARD = Noise(0.2, 0.05, 0.05, 2.0)


@dataclass(frozen=True)
class Speech:
    """The spoken tokens and their times."""

    units: NDArray[np.int64]  # (U,)
    frames: NDArray[np.int64]  # (U,) first frame of each token's peak
    num_frames: int


@dataclass(frozen=True)
class Text:
    """A transcript with faults, and the frame of each of its tokens; -1 for an unspoken token."""

    units: NDArray[np.int64]
    frames: NDArray[np.int64]


def random_units(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Units with frequencies as in natural language: the r-th most frequent one is proportional to 1 / (r + 10)."""
    weights = 1 / (np.arange(NUM_UNITS - 1) + 10)
    return 1 + rng.choice(NUM_UNITS - 1, count, p=weights / weights.sum())


def speech(rng: np.random.Generator, seconds: float, tokens_per_second: float = 11_500 / 4310) -> Speech:
    """Phrases of 3 to 30 tokens; pauses take a fifth of the time."""
    num_frames, count = round(seconds * FRAMES_PER_SECOND), round(seconds * tokens_per_second)
    gaps = rng.gamma(6.0, 1 / 6.0, count)
    ends = np.flatnonzero(rng.random(count) < 1 / 15)
    gaps[ends] += rng.gamma(2.0, 2.0, len(ends))
    times = np.cumsum(gaps)
    frames = np.floor(times / (times[-1] + 2) * num_frames).astype(np.int64)
    frames = np.maximum.accumulate(frames - 3 * np.arange(count)) + 3 * np.arange(count)  # at least 3 frames apart
    return Speech(random_units(rng, count), np.minimum(frames, num_frames - 1), num_frames)


def emissions(rng: np.random.Generator, spoken: Speech, noise: Noise) -> NDArray[np.float32]:
    """Log-probs, (T, NUM_UNITS), computed in blocks of frames."""
    num_frames = spoken.num_frames
    confusions = rng.integers(1, NUM_UNITS, (NUM_UNITS, 5))  # the units that each is mistaken for
    keep = rng.random(len(spoken.units)) >= noise.missed
    extra = rng.integers(0, num_frames, round(noise.invented * len(spoken.units)))
    frame = np.concatenate([spoken.frames[keep], extra])
    unit = np.concatenate([spoken.units[keep], random_units(rng, len(extra))])
    wrong = rng.random(len(unit)) < noise.confused
    other = confusions[unit, rng.integers(0, 5, len(unit))]
    height = rng.normal(9.0, 1.5, len(unit)) + noise.floor  # logits above the floor
    result = np.empty((num_frames, NUM_UNITS), np.float32)
    for begin in range(0, num_frames, 4096):
        piece = result[begin : begin + 4096]
        piece[:] = rng.standard_normal(piece.shape, np.float32) * np.float32(noise.floor)
        piece[:, 0] += 10.0
    length = rng.integers(1, 4, len(unit))
    for offset in range(3):
        t = frame + offset
        on = (length > offset) & (t < num_frames)
        t, u, o, w, h = t[on], unit[on], other[on], wrong[on], height[on] - 1.5 * offset
        result[t, 0] -= np.maximum(h - 2.0, 0)
        result[t, u] += np.where(w, h - rng.uniform(1.0, 6.0, len(t)), h)
        result[t, o] += np.where(w, h, h - rng.uniform(3.0, 8.0, len(t)))
    for begin in range(0, num_frames, 4096):
        piece = result[begin : begin + 4096]
        best = piece.max(axis=1, keepdims=True)
        piece -= best + np.log(np.exp(piece - best).sum(axis=1, keepdims=True))
    return result


def true_text(spoken: Speech) -> Text:
    """A transcript without faults."""
    return Text(spoken.units, spoken.frames)


def delete_scattered(rng: np.random.Generator, text: Text, part: float = 0.1) -> Text:
    """Delete single tokens."""
    keep = rng.random(len(text.units)) >= part
    return Text(text.units[keep], text.frames[keep])


def delete_block(rng: np.random.Generator, text: Text, part: float = 0.1) -> Text:
    """Delete one block of tokens."""
    count = round(part * len(text.units))
    begin = int(rng.integers(0, len(text.units) - count))
    return Text(*(np.delete(x, np.s_[begin : begin + count]) for x in (text.units, text.frames)))


def delete_seconds(rng: np.random.Generator, text: Text, seconds: float = 60.0) -> Text:
    """Delete the tokens of one span of so many seconds."""
    last = int(text.frames.max()) - seconds * FRAMES_PER_SECOND
    begin = rng.uniform(0, last)
    keep = (text.frames < begin) | (text.frames >= begin + seconds * FRAMES_PER_SECOND)
    return Text(text.units[keep], text.frames[keep])


def insert_unspoken(rng: np.random.Generator, text: Text, count: int = 180, num_runs: int = 1) -> Text:
    """Insert `count` unspoken tokens, in `num_runs` runs."""
    units, frames = text.units, text.frames
    for share in np.array_split(np.arange(count), num_runs):
        at = int(rng.integers(0, len(units) + 1))
        units = np.insert(units, at, random_units(rng, len(share)))
        frames = np.insert(frames, at, np.full(len(share), -1))
    return Text(units, frames)


def replace_block(rng: np.random.Generator, text: Text, count: int = 180) -> Text:
    """Replace `count` consecutive tokens by other, unspoken ones."""
    begin = int(rng.integers(0, len(text.units) - count))
    inside = (np.arange(len(text.units)) >= begin) & (np.arange(len(text.units)) < begin + count)
    return Text(np.where(inside, random_units(rng, len(text.units)), text.units), np.where(inside, -1, text.frames))


def substitute(rng: np.random.Generator, text: Text, part: float = 0.05) -> Text:
    """Replace single tokens by others; they keep their times."""
    hit = (rng.random(len(text.units)) < part) & (text.frames >= 0)
    return Text(np.where(hit, random_units(rng, len(text.units)), text.units), text.frames)
