"""What training changes and a checkpoint saves: weights, their running average, optimiser, position in the data."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError
from ml2021.training.config import TrainConfig
from ml2021.training.optimizers import make_optimizer

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_WORTH = 1.3  # times as quick as float32 that bf16 must be, so that two measurements rarely disagree


def quickest_precision(device: torch.device) -> str:
    """bf16 where matrix products in it are clearly quicker, which half a second shows, else float32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    seconds = {name: _seconds_of_product(DTYPES[name]) for name in ("float32", "bf16")}
    return "bf16" if seconds["float32"] > _WORTH * seconds["bf16"] else "float32"


def _seconds_of_product(dtype: torch.dtype) -> float:
    """The least time of some equal matrix products on the CPU."""
    x, y = torch.ones(512, 128, dtype=dtype), torch.ones(128, 384, dtype=dtype)
    times = []
    for _ in range(30):
        begin = time.perf_counter()
        torch.mm(x, y)
        times.append(time.perf_counter() - begin)
    return min(times)


class TrainState:
    """The state of a training, initial or loaded from a checkpoint."""

    def __init__(self, model: nn.Module, config: TrainConfig, device: torch.device) -> None:
        self.model = model.to(device)
        self.parameters, self.buffers = list(model.parameters()), list(model.buffers())  # to look for them takes a ms
        self.is_precision_chosen = config.precision != "auto"
        self.precision = config.precision if self.is_precision_chosen else quickest_precision(device)
        self.model_avg = copy.deepcopy(model).to(torch.float64)
        self.optimizer = make_optimizer(model, config)
        self.scaler = torch.amp.GradScaler(  # type: ignore[attr-defined]  # torch 1.13, for k2's tests, has none to import
            device.type, enabled=config.precision == "fp16"
        )
        self.step = 0  # optimiser steps done, over all epochs
        self.averaged_steps = 0  # steps that model_avg covers
        self.epoch = 1
        self.batches_done = 0  # in this epoch, over all processes
        self.steps_per_epoch = 0  # 0 until counted
        self.bad_steps = 0  # consecutive steps without a finite loss or gradient

    @torch.no_grad()
    def update_average(self) -> None:
        """Extend model_avg to this step; the current weights stand for all steps since the last update."""
        self._extend(self.model_avg.state_dict())
        self.averaged_steps = self.step

    @torch.no_grad()
    def _extend(self, average: dict[str, Tensor]) -> None:
        """Extend, in place, a mean over the first averaged_steps steps to this step."""
        part = (self.step - self.averaged_steps) / max(self.step, 1)
        current = self.model.state_dict()
        for name, mean in average.items():
            if mean.is_floating_point():
                mean.mul_(1 - part).add_(current[name].to(mean.dtype), alpha=part)
            else:
                mean.copy_(current[name])

    def content(self) -> dict[str, Any]:
        """The state under the keys of icefall's checkpoints.

        `model_avg` covers all steps. If it must be extended for that, the state's own is in `running_average`, so that
        no result depends on when checkpoints are saved.
        """
        average, extra = self.model_avg.state_dict(), {}
        if self.averaged_steps != self.step:
            extra["running_average"] = {"steps": self.averaged_steps, "weights": average}
            average = {name: mean.clone() for name, mean in average.items()}
            self._extend(average)
        return {
            **extra,
            "model": self.model.state_dict(),
            "model_avg": average,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None,  # the learning rate is a function of the step
            "grad_scaler": self.scaler.state_dict() if self.scaler.is_enabled() else None,
            "sampler": {"epoch": self.epoch, "batches_done": self.batches_done},
            "batch_idx_train": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "bad_steps": self.bad_steps,
            "precision": self.precision,
        }

    def load(self, content: dict[str, Any], path: Path) -> None:
        """Restore the state that content() returned.

        Raises:
          DataError: it belongs to another model or optimiser, or has no training state.
        """
        try:
            self.model.load_state_dict(content["model"])
            self.model_avg.load_state_dict(content["model_avg"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.scaler.is_enabled() and content["grad_scaler"]:
                self.scaler.load_state_dict(content["grad_scaler"])
            self.step = content["batch_idx_train"]
            self.averaged_steps = self.step
            if "running_average" in content:
                self.model_avg.load_state_dict(content["running_average"]["weights"])
                self.averaged_steps = content["running_average"]["steps"]
            self.steps_per_epoch, self.bad_steps = content["steps_per_epoch"], content["bad_steps"]
            if not self.is_precision_chosen:
                self.precision = content.get("precision", self.precision)
            self.epoch, self.batches_done = content["sampler"]["epoch"], content["sampler"]["batches_done"]
        except (RuntimeError, ValueError, KeyError, TypeError) as e:
            raise DataError(
                f"{path} does not fit this training: {str(e).splitlines()[-1].strip()}; "
                f"move {path.parent} away to train from the start, or pass it as --init-from"
            ) from e
