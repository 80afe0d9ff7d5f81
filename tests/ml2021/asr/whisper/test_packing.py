"""Joined windows: every sample in one piece, cuts in pauses, each word in one window at its place."""

from __future__ import annotations

import random
from itertools import accumulate

import numpy as np
import pytest
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from ml2021.asr.whisper.packing import packs, pieces_of, unpacked
from ml2021.asr.words.timed_word import TimedWord


def noise(seconds: float, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def test_windows_that_overlap_are_not_joined() -> None:
    sound = noise(40.0, 0)
    second = SAMPLE_RATE
    windows = [
        sound[: 3 * second],
        sound[3 * second : 10 * second],
        sound[7 * second : 17 * second],
        sound[17 * second :],
    ]
    assert packs(windows) == [range(0, 2), range(2, 4)]
    assert packs([]) == []
    silence = np.zeros(second, np.float32)  # is everywhere the same
    assert packs([silence, silence]) == [range(0, 2)]


@pytest.mark.parametrize("seed", range(20))
def test_pieces_have_every_sample_and_are_not_too_long(seed: int) -> None:
    rng = random.Random(seed)
    windows = [noise(rng.uniform(0.1, 28), seed + i) for i in range(rng.randint(1, 8))]
    samples = np.concatenate(windows)
    seams = list(accumulate(map(len, windows)))
    pieces = pieces_of(samples, seams, 30 * SAMPLE_RATE)
    assert [pieces[0][0], *(end for _, end in pieces)] == [*(begin for begin, _ in pieces), len(samples)]
    assert all(0 < end - begin <= 30 * SAMPLE_RATE for begin, end in pieces)
    assert all(end in seams for _, end in pieces)  # there is no pause
    assert len(pieces) <= len(windows)


def test_pieces_end_in_pauses_where_there_are_any() -> None:
    windows = [noise(20.0, i) for i in range(3)]
    for window in windows:
        window[9 * SAMPLE_RATE : int(9.5 * SAMPLE_RATE)] = 0.0001
    pieces = pieces_of(
        np.concatenate(windows), [20 * SAMPLE_RATE, 40 * SAMPLE_RATE, 60 * SAMPLE_RATE], 30 * SAMPLE_RATE
    )
    ends = [end / SAMPLE_RATE for _, end in pieces]
    assert 29.0 < ends[0] < 29.5 and 49.0 < ends[1] < 49.5 and ends[2] == 60.0


@pytest.mark.parametrize("seed", range(20))
def test_every_word_is_in_the_window_that_its_middle_is_in(seed: int) -> None:
    rng = random.Random(seed)
    durations = [rng.uniform(0.5, 9) for _ in range(rng.randint(1, 6))]
    edges = sorted(rng.uniform(-0.1, sum(durations) + 0.3) for _ in range(30))
    words = [TimedWord(str(i), start, end, 0.5) for i, (start, end) in enumerate(zip(edges, edges[1:]))]
    rows = unpacked(words, durations)
    assert [w.text for row in rows for w in row] == [w.text for w in words]
    begin = 0.0
    for k, (row, duration) in enumerate(zip(rows, durations, strict=True)):
        for w in row:
            original = words[int(w.text)]
            assert w.start <= w.end
            assert w.start + begin >= original.start - 1e-9 and w.end + begin <= original.end + 1e-9
            assert k == 0 or w.start >= -1e-9
            assert k == len(rows) - 1 or w.end <= duration + 1e-9
        begin += duration
