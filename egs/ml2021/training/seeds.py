"""Seeds that depend only on the position in training, not on what ran before, so that resuming is exact."""

from __future__ import annotations

import random

import numpy as np
import torch


def derived_seed(*numbers: int) -> int:
    """A 32-bit seed from non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_everything(*numbers: int) -> None:
    """Seed the generators of Python, numpy and torch (all devices) with derived_seed(*numbers)."""
    seed = derived_seed(*numbers)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
