"""The interface between the training loop and a kind of model: its batches, its loss and its data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class StepLoss:
    """The loss of a batch, and sums to report, which are divided by `weight` for display.

    All batches of a task have the same names in `sums`. Sums that are computed on a GPU should stay tensors (scalars,
    detached): the training loop reads all of a step at once, and to read a number is to wait for the GPU.
    """

    loss: Tensor  # scalar to minimise
    sums: Mapping[str, float | Tensor]
    weight: float
    seconds: float = 0.0  # of audio in the batch, for the throughput
    num_left_out: int | Tensor = 0  # utterances left out of the loss, with more tokens than frames
    is_mean: bool = True  # loss is a mean over `weight`; false: a sum, whatever the size of the batch

    def part(self, size: int, total_weight: float, counts: bool) -> StepLoss:
        """Scale this loss of a part of a batch, so that the mean over all processes is that of the whole batch.

        Args:
          size: number of processes.
          total_weight: the sum of `weight` over all of them.
          counts: false: another process has the same part; this one is worth nothing.
        """
        if not counts:
            nothing = {name: 0.0 * value for name, value in self.sums.items()}
            return StepLoss(0.0 * self.loss, nothing, 0.0, 0.0, 0 * self.num_left_out, self.is_mean)
        share = self.weight / total_weight if self.is_mean else 1.0
        return replace(self, loss=self.loss * (size * share))


def summed(results: Sequence[StepLoss]) -> dict[str, float | Tensor]:
    """The sums that several batches report, added up in double precision."""
    total: dict[str, float | Tensor] = {}
    for r in results:
        bookkeeping = {"weight": r.weight, "seconds": r.seconds, "num_left_out": r.num_left_out}
        for name, value in {**r.sums, **bookkeeping}.items():
            total[name] = total.get(name, 0.0) + (value.detach().double() if isinstance(value, Tensor) else value)
    return total


@dataclass(frozen=True)
class Example:
    """A decoded utterance of the dev part, for the log."""

    id: str
    ref: str
    hyp: str


class Task(ABC):
    """A kind of model and its data. Planning batches is cheap; load_train and load_valid read the data."""

    batch_limit = "the batch size"  # the option to lower when memory runs out
    batches_per_step = 1  # over all processes; the training loop sets it

    @abstractmethod
    def train_batches(self, epoch: int) -> Iterator[Any]:
        """The planned batches of an epoch (from 1); they depend only on seed and epoch."""

    @abstractmethod
    def valid_batches(self) -> Iterator[Any]:
        """The planned batches of the dev part."""

    def choose_trained(self, model: nn.Module, step: int) -> None:  # noqa: B027 (optional)
        """Set which parameters are trained (requires_grad) in a step, where it is not the same in all."""

    @abstractmethod
    def compute_loss(self, model: nn.Module, batch: Any, step: int) -> StepLoss:
        """The loss of a loaded batch; step is the number of optimiser steps since the start of training."""

    def num_train_batches(self, epoch: int) -> int:
        """The number of batches in an epoch."""
        return sum(1 for _ in self.train_batches(epoch))

    def divide(self, batch: Any, size: int) -> Sequence[Any]:
        """A planned batch in at most `size` parts, of which none is empty, for processes that share it.

        Every size-th item is in the same part; a batch must be a sequence, or be sliced like one.
        """
        return [batch[i::size] for i in range(min(size, len(batch)))]

    def load_train(self, batches: Iterator[tuple[int, Any]], epoch: int) -> Iterator[Any]:
        """Load planned batches, given with their numbers; randomness depends only on seed, epoch and number."""
        return (batch for _, batch in batches)

    def load_valid(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Load planned batches of the dev part."""
        return batches

    def worst_batches(self) -> Iterator[Any]:
        """The planned batches that need the most memory, tried before training."""
        return iter(())

    def batch_ids(self, batch: Any) -> Sequence[str]:
        """The ids of the items in a loaded batch, in order, for messages."""
        return ()

    def fingerprint(self) -> dict[str, str]:
        """What must not change when training resumes: {name: description with a digest}."""
        return {}

    def final_weights(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What pretrained.pt holds of the averaged weights of the trained model."""
        return dict(weights)

    def batching(self) -> str:
        """The options that determine an epoch's batches; they must not change when training resumes inside an epoch."""
        return ""

    def example(self, model: nn.Module) -> Example | None:
        """Decode one utterance of the dev part, or None; model is in evaluation mode."""
        return None
