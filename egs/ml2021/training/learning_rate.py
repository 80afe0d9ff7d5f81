"""The learning rate of each step. It depends only on the step, so that resuming needs no state."""

from __future__ import annotations

import math

from ml2021.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """The learning rate by config.schedule.

    Args:
      step: optimiser steps done.
      num_steps: steps of the whole training.
    """
    if config.schedule == "eden":
        c, epochs_done = config, config.num_epochs * step // max(1, num_steps)
        # as icefall does, with the current step counted and the current epoch not
        return eden(c.base_lr, step + 1, epochs_done, c.lr_batches, c.lr_epochs, c.warmup_steps, c.warmup_start)
    return warmup_cosine(config, step, num_steps)


def warmup_cosine(config: TrainConfig, step: int, num_steps: int) -> float:
    """A linear warm-up, then a half cosine down to final_lr_factor at the last step."""
    if step < config.warmup_steps:
        return config.base_lr * (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps))
    part = 0.5 * (1 + math.cos(math.pi * progress))
    return config.base_lr * (config.final_lr_factor + (1 - config.final_lr_factor) * part)


def eden(
    base_lr: float,
    step: int,
    epoch: float,
    lr_batches: float,
    lr_epochs: float,
    warmup_batches: float = 500.0,
    warmup_start: float = 0.1,
) -> float:
    """The Eden schedule (Yao et al., 2023, arXiv 2310.11230, section 3.6): falls as the inverse square root of both.

    Args:
      base_lr: 0.045 suits ScaledAdam.
      step, epoch: batches and epochs done.
      lr_batches, lr_epochs: the rate begins to fall after about this many batches or epochs.
      warmup_batches: the rate first rises linearly, over this many batches, from warmup_start times its value.
    """
    decay: float = ((step / lr_batches) ** 2 + 1) ** -0.25 * ((epoch / lr_epochs) ** 2 + 1) ** -0.25
    warmup = 1.0 if step >= warmup_batches else warmup_start + (1.0 - warmup_start) * step / warmup_batches
    return base_lr * decay * warmup
