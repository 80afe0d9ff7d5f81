"""The optimiser of a training, and the gradient norm that the loop clips to."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from ml2021.training.config import TrainConfig
from ml2021.training.scaled_adam import ScaledAdam


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


def max_grad_norm(config: TrainConfig) -> float:
    """The gradient norm that the training loop clips to: infinite for ScaledAdam, which clips by itself."""
    return math.inf if config.optimizer == "scaled_adam" else config.grad_clip
