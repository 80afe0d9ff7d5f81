"""What the training loop needs to know of a kind of model: its batches, its loss, and what it was trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class StepLoss:
    """What a batch gives: the loss to go down, and sums to report (each divided by `weight` when shown).

    The names in `sums` are the same for all batches of a task.
    """

    loss: Tensor  # scalar
    sums: dict[str, float]
    weight: float
    seconds: float = 0.0  # of audio in the batch, for the throughput
    num_left_out: int = 0  # utterances without a path


@dataclass(frozen=True)
class Example:
    """A decoded utterance of the dev part, to look at."""

    id: str
    ref: str
    hyp: str


class Task(ABC):
    """A kind of model and its data. What is planned is cheap to make; load_train and load_valid do the reading."""

    batch_limit = "the batch size"  # what a user lowers when memory runs out

    @abstractmethod
    def train_batches(self, epoch: int) -> Iterator[Any]:
        """The batches planned for an epoch (1-based), a function of seed and epoch alone."""

    @abstractmethod
    def valid_batches(self) -> Iterator[Any]:
        """The batches planned of the dev part."""

    @abstractmethod
    def compute_loss(self, model: nn.Module, batch: Any, step: int) -> StepLoss:
        """The loss of a loaded batch; step counts from the start of training."""

    def num_train_batches(self, epoch: int) -> int:
        """How many batches an epoch has."""
        return sum(1 for _ in self.train_batches(epoch))

    def load_train(self, batches: Iterator[tuple[int, Any]], epoch: int) -> Iterator[Any]:
        """Load planned batches; what is random in it is a function of seed, epoch and the number given with each."""
        return (batch for _, batch in batches)

    def load_valid(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Load planned batches of the dev part."""
        return batches

    def worst_batches(self) -> Iterator[Any]:
        """The planned batches that will need most memory, to be tried before training."""
        return iter(())

    def batch_ids(self, batch: Any) -> Sequence[str]:
        """The ids of what a loaded batch holds, in order, for messages."""
        return ()

    def fingerprint(self) -> dict[str, str]:
        """What a resume must find unchanged: {name: a description with a digest}."""
        return {}

    def batching(self) -> str:
        """The options that decide which batches an epoch has; a resume inside an epoch must find them unchanged."""
        return ""

    def example(self, model: nn.Module) -> Example | None:
        """Decode an utterance of the dev part; model is in evaluation mode."""
        return None
