"""Made-up emissions of a CTC model on a lecture, and transcripts with faults, for the benchmarks of the aligner.

Tokens come in phrases with pauses between. A model's peak is one to three frames near the token's time; a part of the
peaks is on a wrong unit, weak, or missing, and some are where nobody speaks. Between peaks blank is nearly sure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES_PER_SECOND = 25
NUM_UNITS = 600  # with blank


@dataclass(frozen=True)
class Noise:
    """How bad the model is."""

    confused: float = 0.08  # part of the peaks whose best unit is a wrong one
    missed: float = 0.02  # part of the peaks that are not there
    invented: float = 0.02  # peaks of random units, as a part of the tokens
    floor: float = 1.5  # standard deviation of logits


CLEAN = Noise(0.02, 0.005, 0.005, 1.0)
MEDIUM = Noise()
HARD = Noise(0.2, 0.05, 0.05, 2.0)


@dataclass(frozen=True)
class Speech:
    """What is spoken, and when."""

    units: NDArray[np.int64]  # (U,)
    frames: NDArray[np.int64]  # (U,) where each token's peak begins
    num_frames: int


@dataclass(frozen=True)
class Text:
    """A transcript with faults, and the frame of each of its tokens; -1 for one that is not spoken."""

    units: NDArray[np.int64]
    frames: NDArray[np.int64]


def random_units(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Frequencies as in language: the r-th most frequent unit has 1 / (r + 10) of the share."""
    weights = 1 / (np.arange(NUM_UNITS - 1) + 10)
    return 1 + rng.choice(NUM_UNITS - 1, count, p=weights / weights.sum())


def speech(rng: np.random.Generator, seconds: float, tokens_per_second: float = 11_500 / 4310) -> Speech:
    """Phrases of 3 to 30 tokens; a fifth of the time is pauses."""
    num_frames, count = round(seconds * FRAMES_PER_SECOND), round(seconds * tokens_per_second)
    gaps = rng.gamma(6.0, 1 / 6.0, count)
    ends = np.flatnonzero(rng.random(count) < 1 / 15)
    gaps[ends] += rng.gamma(2.0, 2.0, len(ends))
    times = np.cumsum(gaps)
    frames = np.floor(times / (times[-1] + 2) * num_frames).astype(np.int64)
    frames = np.maximum.accumulate(frames - 3 * np.arange(count)) + 3 * np.arange(count)  # 3 frames apart at least
    return Speech(random_units(rng, count), np.minimum(frames, num_frames - 1), num_frames)


def emissions(rng: np.random.Generator, spoken: Speech, noise: Noise) -> NDArray[np.float32]:
    """(T, NUM_UNITS) log-probs, made and normalised a piece at a time."""
    num_frames = spoken.num_frames
    likes = rng.integers(1, NUM_UNITS, (NUM_UNITS, 5))  # what each unit is mistaken for
    keep = rng.random(len(spoken.units)) >= noise.missed
    extra = rng.integers(0, num_frames, round(noise.invented * len(spoken.units)))
    frame = np.concatenate([spoken.frames[keep], extra])
    unit = np.concatenate([spoken.units[keep], random_units(rng, len(extra))])
    wrong = rng.random(len(unit)) < noise.confused
    other = likes[unit, rng.integers(0, 5, len(unit))]
    height = rng.normal(9.0, 1.5, len(unit)) + noise.floor  # logits over the floor; blank has 8 between peaks
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
    """Everything that is spoken."""
    return Text(spoken.units, spoken.frames)


def delete_scattered(rng: np.random.Generator, text: Text, part: float = 0.1) -> Text:
    """Single tokens are missing."""
    keep = rng.random(len(text.units)) >= part
    return Text(text.units[keep], text.frames[keep])


def delete_block(rng: np.random.Generator, text: Text, part: float = 0.1) -> Text:
    """One block of tokens is missing."""
    count = round(part * len(text.units))
    begin = int(rng.integers(0, len(text.units) - count))
    return Text(*(np.delete(x, np.s_[begin : begin + count]) for x in (text.units, text.frames)))


def delete_seconds(rng: np.random.Generator, text: Text, seconds: float = 60.0) -> Text:
    """So many seconds of speech have no text."""
    last = int(text.frames.max()) - seconds * FRAMES_PER_SECOND
    begin = rng.uniform(0, last)
    keep = (text.frames < begin) | (text.frames >= begin + seconds * FRAMES_PER_SECOND)
    return Text(text.units[keep], text.frames[keep])


def insert_unspoken(rng: np.random.Generator, text: Text, count: int = 180, num_runs: int = 1) -> Text:
    """Text that nobody speaks, in some runs."""
    units, frames = text.units, text.frames
    for share in np.array_split(np.arange(count), num_runs):
        at = int(rng.integers(0, len(units) + 1))
        units = np.insert(units, at, random_units(rng, len(share)))
        frames = np.insert(frames, at, np.full(len(share), -1))
    return Text(units, frames)


def replace_block(rng: np.random.Generator, text: Text, count: int = 180) -> Text:
    """For so many tokens in a row something else is spoken than is written."""
    begin = int(rng.integers(0, len(text.units) - count))
    inside = (np.arange(len(text.units)) >= begin) & (np.arange(len(text.units)) < begin + count)
    return Text(np.where(inside, random_units(rng, len(text.units)), text.units), np.where(inside, -1, text.frames))


def substitute(rng: np.random.Generator, text: Text, part: float = 0.05) -> Text:
    """Tokens that are spoken and written as another; they keep their time."""
    hit = (rng.random(len(text.units)) < part) & (text.frames >= 0)
    return Text(np.where(hit, random_units(rng, len(text.units)), text.units), text.frames)
