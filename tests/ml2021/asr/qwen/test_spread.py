"""Times for words that the model has none for."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ml2021.asr.qwen import spread
from ml2021.asr.qwen.forced_aligner import WordTime
from ml2021.asr.qwen.spread import fill_in, spread_over_speech


def test_words_fill_the_speech_and_leave_pauses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    stretches = np.array([[16000, 32000], [64000, 80000]])
    monkeypatch.setattr(spread, "speech_stretches", lambda _: stretches)
    times = spread_over_speech(np.zeros(96000, dtype=np.float32), ["我", "們", "來", "講"])
    assert times == [(1.0, 1.5), (1.5, 2.0), (4.0, 4.5), (4.5, 5.0)]


@pytest.mark.parametrize("seed", range(15))
def test_spread_words_rise_inside_the_window(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    edges = sorted(rng.sample(range(160000), 2 * rng.randrange(4)))
    monkeypatch.setattr(spread, "speech_stretches", lambda _: np.array(edges, dtype=np.int64).reshape(-1, 2))
    words = [rng.choice(["我", "a", "self-supervised"]) for _ in range(rng.randrange(1, 60))]
    times = spread_over_speech(np.zeros(160000, dtype=np.float32), words)
    flat = [x for time in times for x in time]
    assert len(times) == len(words) and np.diff(flat).min() > -1e-9
    assert min(flat) >= 0 and max(flat) <= 10.0 + 1e-9
    if edges:
        assert flat[0] == pytest.approx(edges[0] / 16000) and flat[-1] == pytest.approx(edges[-1] / 16000)


@pytest.mark.parametrize("seed", range(25))
def test_words_without_times_go_between_their_neighbours(seed: int) -> None:
    rng = random.Random(seed)
    edges = sorted(rng.sample(range(100), 2 * rng.randrange(1, 8)))
    for i in range(2, len(edges), 2):
        edges[i] = rng.choice([edges[i], edges[i - 1]])  # without a pause
    timed = [WordTime(a / 10, b / 10, 0.5) for a, b in zip(edges[::2], edges[1::2])]
    times = [t for time in timed for t in [None] * rng.choice([0, 0, 1, 3]) + [time]] + [None] * rng.choice([0, 2])
    filled = fill_in(times, 10.0)
    flat = [x for t in filled for x in (t.start, t.end)]
    assert len(filled) == len(times) and np.diff(flat).min() > -1e-9 and flat[0] >= 0 and flat[-1] <= 10.0
    assert all(t.end > t.start for t in filled)
    for before, after in zip(times, filled):
        assert after.score == (before.score if before else 0.0)
        assert before is None or (after.start >= before.start and after.end <= before.end)
