"""The most probable times that never run backwards (Viterbi's algorithm over classes of time).

Legend: S slots (two per word: its start and its end), C classes of time, each of some milliseconds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-4  # of a probability, so that one wild slot cannot drag its neighbours along


def monotone_path(log_probs: NDArray[np.float32], steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """One class per slot, with the highest sum of log probabilities among the sequences that rise by the given steps.

    Args:
      log_probs: (S, C).
      steps: (S,) classes by which a slot must at least lie after the one before; 0 for the first one. They are taken
        as 0 if there are not enough classes.
    Returns:
      (S,) classes, never descending.
    """
    num_slots, num_classes = log_probs.shape
    if steps[1:].sum() >= num_classes:
        steps = np.zeros_like(steps)
    gains = np.log(np.exp(log_probs.astype(np.float64)) + _LEAST)
    classes = np.arange(num_classes)
    came_from = np.zeros((num_slots, num_classes), dtype=np.int32)
    total = gains[0]
    for slot in range(1, num_slots):
        best = np.maximum.accumulate(total)
        is_new = np.append(True, total[1:] > best[:-1])
        where = np.maximum.accumulate(np.where(is_new, classes, 0))
        step = int(steps[slot])
        reachable = np.full(num_classes, -np.inf)
        reachable[step:] = best[: num_classes - step]
        came_from[slot, step:] = where[: num_classes - step]
        total = reachable + gains[slot]
    path = np.zeros(num_slots, dtype=np.int64)
    path[-1] = int(total.argmax())
    for slot in range(num_slots - 1, 0, -1):
        path[slot - 1] = came_from[slot, path[slot]]
    return path
