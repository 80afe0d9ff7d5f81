"""The optimiser and its learning rate, which is a function of the step alone, so that a resume needs no state of it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ml2021.training.config import TrainConfig
from ml2021.training.scaled_adam import ScaledAdam, eden


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """ScaledAdam, or AdamW with weight decay for matrices only, not for biases and norms."""
    if config.optimizer == "scaled_adam":
        return ScaledAdam([p for p in model.parameters() if p.requires_grad], lr=config.base_lr)
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.base_lr, fused=True)


def largest_norm(config: TrainConfig) -> float:
    """Gradient norm to which the training loop clips; ScaledAdam clips by its own measure."""
    return math.inf if config.optimizer == "scaled_adam" else config.grad_clip


def learning_rate(config: TrainConfig, step: int, num_steps: int) -> float:
    """Eden, or a linear warm-up, then a half cosine down to final_lr_factor at num_steps, the last step of training."""
    if config.schedule == "eden":
        c, epoch = config, config.num_epochs * step // max(1, num_steps)  # icefall counts this step, not this epoch
        return eden(c.base_lr, step + 1, epoch, c.lr_batches, c.lr_epochs, c.warmup_steps, c.warmup_start)
    if step < config.warmup_steps:
        return config.base_lr * (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, num_steps - config.warmup_steps))
    part = 0.5 * (1 + math.cos(math.pi * progress))
    return config.base_lr * (config.final_lr_factor + (1 - config.final_lr_factor) * part)
