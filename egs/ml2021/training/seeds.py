"""Randomness as a function of where training is, not of what ran before: what makes a resume exact."""

from __future__ import annotations

import random

import numpy as np
import torch


def derived_seed(*numbers: int) -> int:
    """A seed of 32 bits that differs for all tuples of non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def seed_everything(*numbers: int) -> None:
    """Set the generators of Python, numpy and torch (all devices) by a tuple of numbers."""
    seed = derived_seed(*numbers)
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
