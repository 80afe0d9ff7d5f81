"""Values that change over the course of training: dropout rates, limits of the regularisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

import torch
from torch import nn


@dataclass(frozen=True)
class Schedule:
    """A piecewise linear function of the batch count, constant before its first point and after its last."""

    points: tuple[tuple[float, float], ...]  # (batch count, value), by ascending batch count
    default: float = 0.0  # the value outside training, or if no batch count was set

    def __call__(self, batch_count: float | None) -> float:
        """The value at a batch count; the default for None."""
        if batch_count is None:
            return self.default
        begin, value = self.points[0]
        if batch_count <= begin:
            return value
        for end, next_value in self.points[1:]:
            if batch_count < end:
                return value + (next_value - value) * (batch_count - begin) / (end - begin)
            begin, value = end, next_value
        return value


FloatLike = Union[float, Schedule]  # noqa: UP007  (`|` at run time needs Python 3.10; there are builds of k2 for 3.9)


class ScheduledModule(nn.Module):
    """A module whose behaviour in training depends on the progress of training."""

    batch_count: float | None = None

    def value(self, x: FloatLike) -> float:
        """The current value of a number or a schedule."""
        if isinstance(x, Schedule):
            return x(self.batch_count if self.training else None)
        return x


def set_batch_count(model: nn.Module, batch_count: float) -> None:
    """Set the progress of training on all scheduled modules, in batches of the reference duration."""
    for module in model.modules():
        if isinstance(module, ScheduledModule):
            module.batch_count = batch_count


def chance(probability: float) -> bool:
    """True with this probability. Uses torch's CPU generator, so that a seeded step repeats exactly."""
    return probability > 0.0 and float(torch.rand(())) < probability
