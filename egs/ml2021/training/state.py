"""All that training changes, as a checkpoint keeps it: weights, their running average, optimiser, place in the data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lhotse_prep.workflow.errors import DataError
from ml2021.training.config import TrainConfig
from ml2021.training.optimizers import make_optimizer


class TrainState:
    """The state of a training, at the start or as a checkpoint has it."""

    def __init__(self, model: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self.model = model.to(device)
        self.model_avg = copy.deepcopy(model).to(torch.float64)
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.step = 0  # optimiser steps done, over all epochs
        self.averaged_steps = 0  # of them, in model_avg
        self.epoch = 1
        self.batches_done = 0  # in this epoch, by all processes
        self.steps_per_epoch = 0  # known once an epoch has been counted
        self.bad_steps = 0  # steps in a row that had no finite loss

    @torch.no_grad()
    def update_average(self) -> None:
        """Bring model_avg up to this step: the weights now count for all steps since the last update.

        So model_avg in a checkpoint is the mean over exactly its steps, as average_with_running_average needs it.
        """
        part = (self.step - self.averaged_steps) / max(self.step, 1)
        current = self.model.state_dict()
        for name, mean in self.model_avg.state_dict().items():
            if mean.is_floating_point():
                mean.mul_(1 - part).add_(current[name].to(mean.dtype), alpha=part)
            else:
                mean.copy_(current[name])
        self.averaged_steps = self.step

    def content(self) -> dict[str, Any]:
        """The state by icefall's names of a checkpoint's keys."""
        return {
            "model": self.model.state_dict(),
            "model_avg": self.model_avg.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None,  # the learning rate is a function of the step
            "grad_scaler": self.scaler.state_dict() if self.scaler.is_enabled() else None,
            "sampler": {"epoch": self.epoch, "batches_done": self.batches_done},
            "batch_idx_train": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "bad_steps": self.bad_steps,
        }

    def load(self, content: dict[str, Any], path: Path) -> None:
        """Take the state that content() gave.

        Raises:
          DataError: it is of another model or optimiser, or has no state of training.
        """
        try:
            self.model.load_state_dict(content["model"])
            self.model_avg.load_state_dict(content["model_avg"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.scaler.is_enabled() and content["grad_scaler"]:
                self.scaler.load_state_dict(content["grad_scaler"])
            self.step = self.averaged_steps = content["batch_idx_train"]
            self.steps_per_epoch, self.bad_steps = content["steps_per_epoch"], content["bad_steps"]
            self.epoch, self.batches_done = content["sampler"]["epoch"], content["sampler"]["batches_done"]
        except (RuntimeError, ValueError, KeyError, TypeError) as e:
            raise DataError(
                f"{path} does not fit this training: {str(e).splitlines()[-1].strip()}; "
                f"move {path.parent} away to train from the start, or give it as --init-from"
            ) from e
