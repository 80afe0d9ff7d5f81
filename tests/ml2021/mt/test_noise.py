"""Noise in the source has the configured rates and resembles the errors of recognisers."""

from __future__ import annotations

import random

import pytest

from ml2021.mt.config import NoiseConfig
from ml2021.mt.noise import RecognitionNoise


def test_noise_has_the_configured_rate():
    noise = RecognitionNoise(["x"], NoiseConfig(1.0, 0.1, sound_alike=0.0, fillers=()))
    rng = random.Random(0)
    tokens = tuple("天" * 100)
    substituted = inserted = total = 0
    for _ in range(200):
        noisy = noise(tokens, rng)
        substituted += noisy.count("x")
        inserted += len(noisy) - len(tokens)
        total += len(tokens)
    assert substituted / total == pytest.approx(0.08, rel=0.1)  # 6% substituted and 2% inserted
    assert abs(inserted) / total < 0.005  # as many inserted as deleted


def test_no_noise_no_change():
    rng = random.Random(0)
    tokens = tuple("嗯天地人")
    assert RecognitionNoise(["x"], NoiseConfig(0.0, filler_drop=0.0))(tokens, rng) == tokens
    assert RecognitionNoise(["x"], NoiseConfig(0.0, filler_drop=1.0))(tokens, rng) == tokens[1:]
    everything = RecognitionNoise(["x"], NoiseConfig(1.0, 1.0, filler_drop=1.0))
    assert all(everything(("嗯",), rng) for _ in range(50))  # never empty


def test_substitutions_that_sound_alike():
    tokens = [*"八把爸天田人", "layer", "a"]
    noise = RecognitionNoise(tokens, NoiseConfig(1.0, 1.0, sound_alike=1.0, fillers=()))
    rng = random.Random(0)
    seen: dict[str, set[str]] = {t: set() for t in tokens}
    for token in tokens * 300:
        noisy = noise((token,), rng)
        if len(noisy) == 1:
            seen[token].add(noisy[0])
    assert seen["八"] - {"八"} == {"把", "爸"} and seen["天"] - {"天"} == {"田"}
    assert seen["人"] == set(tokens)  # it has no homophone: any token may replace it
    assert len(seen["layer"] - {"layer"}) > 10 and seen["a"] - {"a"} == {"aa"}
    for word in seen["layer"]:  # one to three letters deleted, or one doubled
        assert 2 <= len(word) <= 6 and set(word) <= set("layer")


def test_english_terms_are_only_misspelled():
    tokens = ("天", "layer", "地", "bert")
    noise = RecognitionNoise([*tokens, "gpt"], NoiseConfig(1.0, 1.0, sound_alike=0.0, fillers=()))
    rng = random.Random(0)
    for _ in range(200):
        english = list(noise(("layer", "bert"), rng))
        assert len(english) == 2 and set(english[0]) <= set("layer") and set(english[1]) <= set("bert")
    free = RecognitionNoise([*tokens, "gpt"], NoiseConfig(1.0, 1.0, sound_alike=0.0, fillers=(), keep_terms=False))
    assert any("gpt" in free(("layer", "bert"), rng) for _ in range(200))


def test_errors_come_in_bursts():
    rng = random.Random(0)
    noise = RecognitionNoise(["x"], NoiseConfig(1.0, 0.05, burst=0.5, sound_alike=0.0, fillers=()))
    wrong = [[t == "x" for t in noise(tuple("天" * 200), rng)] for _ in range(100)]
    after = [b for row in wrong for a, b in zip(row, row[1:]) if a]
    everywhere = [b for row in wrong for b in row]
    assert sum(after) / len(after) > 3 * sum(everywhere) / len(everywhere)
