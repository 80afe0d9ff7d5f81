"""The forced aligner: classes of time become seconds, in order, inside the window, whatever the batch."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ml2021.asr.qwen.forced_aligner import QwenForcedAligner, is_qwen_aligner

Noise = Callable[..., Any]


@pytest.fixture(scope="module")
def aligner(aligner_folder: Path) -> QwenForcedAligner:
    return QwenForcedAligner(aligner_folder, "cpu")


def plan(monkeypatch: pytest.MonkeyPatch, aligner: QwenForcedAligner, classes: list[int]) -> None:
    """Make the model's head nearly certain of one class per slot."""

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        assert len(hidden) == len(classes), "one row per slot"
        return 12.0 * torch.eye(400)[classes]

    monkeypatch.setattr(aligner.model.score, "forward", logits)


def test_classes_become_seconds(aligner: QwenForcedAligner, noise: Noise, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(monkeypatch, aligner, [3, 5, 5, 12, 20, 21])
    times = aligner.times(noise(2.0), ["我", "bert", "好"])
    assert [x for t in times if t for x in (t.start, t.end)] == pytest.approx([0.24, 0.4, 0.4, 0.96, 1.6, 1.68])
    assert all(t and t.score > 0.95 for t in times)


def test_a_word_of_several_units_lasts_from_the_first_to_the_last(
    aligner: QwenForcedAligner, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, aligner, [1, 2, 2, 4, 5, 8, 9, 10])
    times = aligner.times(noise(1.0), ["=", "機器", "%", "l(x)學", "+"])
    assert [t and (round(t.start, 2), round(t.end, 2)) for t in times] == [None, (0.08, 0.32), None, (0.4, 0.8), None]


def test_times_that_run_backwards_are_repaired(
    aligner: QwenForcedAligner, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(monkeypatch, aligner, [2, 4, 30, 30, 8, 10, 10, 10])
    first, wild, third, last = aligner.times(noise(3.0), ["a", "b", "c", "d"])
    assert first and wild and third and last
    assert (first.start, first.end, third.start) == pytest.approx((0.16, 0.32, 0.64))
    assert first.end <= wild.start < wild.end <= third.start
    assert last.start < last.end, "a word of no length"
    assert wild.score < 0.1 < first.score


def test_the_model_reads_each_unit_between_slots(
    aligner: QwenForcedAligner, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    forward = aligner.model.model.forward
    monkeypatch.setattr(aligner.model.model, "forward", lambda **x: asked.append(x["input_ids"]) or forward(**x))
    aligner.times(noise(1.0), ["機器", "BERT's", "<timestamp>", "<|audio_pad|>", "%"])
    text = aligner.processor.tokenizer.decode(asked[0][0])
    slots = "<timestamp><timestamp>"
    units = ("機", "器", "BERT's", "timestamp", "audiopad")
    assert text.replace("<|audio_pad|>", "") == "<|audio_start|><|audio_end|>" + "".join(u + slots for u in units)


@pytest.mark.parametrize("seed", range(4))
def test_times_rise_inside_the_window_whatever_the_batch(aligner: QwenForcedAligner, noise: Noise, seed: int) -> None:
    rng = random.Random(seed)
    words = ["我", "們", "bert", "self-supervised", "98%", "=", "l(x)", "3×3", "機器學習"]
    windows = []
    for i in range(5):
        seconds = rng.choice([0.0001, 0.05, 0.3, 1.0, 3.21, 9.99, 25.0])
        windows.append((noise(seconds, i), [rng.choice(words) for _ in range(rng.choice([0, 1, 5, 40]))]))
    together = aligner.times_of_windows(windows)
    for (samples, words_of_window), times in zip(windows, together, strict=True):
        assert [t is None for t in times] == [w == "=" for w in words_of_window]
        edges = [x for t in times if t for x in (t.start, t.end)]
        assert edges == sorted(edges) and all(0 <= x <= len(samples) / 16000 for x in edges)
        assert all(0 <= t.score <= 1 for t in times if t)
        alone = aligner.times(samples, words_of_window)
        assert [t and (t.start, t.end) for t in alone] == [t and (t.start, t.end) for t in times]


def test_probabilities_do_not_depend_on_the_batch(aligner: QwenForcedAligner, noise: Noise) -> None:
    windows = [(noise(0.773), ["我", "bert"]), (noise(2.0, 1), ["好"])]  # the first one ends within a frame
    together = aligner._slots(windows)
    for window, log_probs in zip(windows, together, strict=True):
        [alone] = aligner._slots([window])
        assert np.abs(alone - log_probs).max() < 1e-4


def test_half_precision_gives_times(aligner_folder: Path, noise: Noise) -> None:
    aligner = QwenForcedAligner(aligner_folder, torch.device("cpu"), "bfloat16")
    assert aligner.model.dtype == torch.bfloat16
    assert all(t and 0 <= t.start < t.end <= 2.0 for t in aligner.times(noise(2.0), ["我", "bert"]))


def test_empty_windows_have_no_times(aligner: QwenForcedAligner) -> None:
    assert aligner.times_of_windows([]) == []
    assert aligner.times(np.zeros(0, dtype=np.float32), ["a"]) == [None]


def test_qwens_first_format_gives_the_same_times(
    aligner: QwenForcedAligner, aligner_folder: Path, original_of: Callable[[Path, bool], Path], noise: Noise
) -> None:
    folder = original_of(aligner_folder, True)
    assert is_qwen_aligner(folder)
    words = ["我", "們", "bert"]
    assert QwenForcedAligner(folder, "cpu").times(noise(2.0), words) == aligner.times(noise(2.0), words)
