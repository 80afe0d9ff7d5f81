"""Times that never run backwards, compared with all sequences there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from ml2021.asr.qwen.monotone_path import monotone_path


def best_of_all(log_probs: np.ndarray, steps: list[int]) -> float:
    sequences = product(range(log_probs.shape[1]), repeat=len(log_probs))
    rising = (s for s in sequences if all(b - a >= step for a, b, step in zip(s, s[1:], steps[1:])))
    return max(total(log_probs, s) for s in rising)


def total(log_probs: np.ndarray, classes) -> float:
    return float(sum(np.log(np.exp(row[c]) + 1e-4) for row, c in zip(log_probs, classes)))


@pytest.mark.parametrize("seed", range(15))
def test_the_path_is_the_best_of_all_that_rise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_slots, num_classes = int(rng.integers(1, 6)), int(rng.integers(4, 7))
    log_probs = np.log(rng.dirichlet(np.full(num_classes, 0.3), num_slots) + 1e-12).astype(np.float32)
    steps = np.array([0, *rng.integers(0, 2, num_slots - 1)])
    path = monotone_path(log_probs, steps)
    steps_taken = np.diff(path)
    assert (steps_taken >= steps[1:]).all() or steps[1:].sum() >= num_classes
    assert total(log_probs, path) == pytest.approx(best_of_all(log_probs, steps.tolist()), abs=1e-4)


def certain(classes: list[int], num_classes: int) -> np.ndarray:
    return np.log(np.eye(num_classes)[classes] * 0.98 + 0.02 / num_classes).astype(np.float32)


def test_classes_that_rise_stay() -> None:
    classes = [0, 3, 3, 7, 9, 11, 11, 40]
    assert monotone_path(certain(classes, 50), np.zeros(8, dtype=np.int64)).tolist() == classes


def test_a_wild_slot_is_put_between_its_neighbours() -> None:
    path = monotone_path(certain([2, 4, 45, 8, 8, 0, 12], 50), np.zeros(7, dtype=np.int64)).tolist()
    assert [path[i] for i in (0, 1, 3, 4, 6)] == [2, 4, 8, 8, 12]
    assert 4 <= path[2] <= 8 and 8 <= path[5] <= 12


def test_more_slots_than_classes_still_rise() -> None:
    path = monotone_path(certain([1, 0, 1, 0, 1, 0], 2), np.array([0, 1, 0, 1, 0, 1]))
    assert (np.diff(path) >= 0).all()
