"""Training in several processes started by torchrun: ranks, sums and averages. With one process, all of it is a no-op.

This module sums the gradients, not a wrapper around the model such as DistributedDataParallel. Thus layers that a step
skips, temporarily frozen layers and accumulated batches need no special case, and all processes get the same bits.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError

T = TypeVar("T")
BUCKET_NUMBERS = 8_000_000  # gradient values summed in one message


@dataclass(frozen=True)
class World:
    """The rank of this process and the number of processes; rank 0 writes files and logs."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum of each value over all processes; every process must pass the same keys."""
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        total = torch.tensor([values[n] for n in names], dtype=torch.float64, device=_message_device())
        dist.all_reduce(total)
        return dict(zip(names, total.tolist()))

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients by their mean over all processes; a process without a gradient counts as 0."""
        if self.size == 1:
            return
        parameters = [p for p in parameters if p.requires_grad]
        has = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32, device=_message_device())
        dist.all_reduce(has)
        used = [p for p, n in zip(parameters, has.tolist()) if n > 0]
        for p in used:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        _average([p.grad for p in used if p.grad is not None], self.size)

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Replace floating-point buffers, such as running statistics, by their mean over all processes."""
        if self.size > 1:
            _average([b for b in model.buffers() if b.is_floating_point()], self.size)

    @torch.no_grad()
    def broadcast(self, model: nn.Module) -> None:
        """Copy the weights and buffers of rank 0 to every process."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def from_main(self, value: T) -> T:
        """Rank 0's value (a picklable object), in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all processes (picklable objects), ordered by rank."""
        if self.size == 1:
            return [value]
        box: list[T | None] = [None] * self.size
        dist.all_gather_object(box, value)
        return cast(list[T], box)

    def wait(self) -> None:
        """Block until all processes get here."""
        if self.size > 1:
            dist.barrier()


def join_world() -> tuple[World, torch.device]:
    """Join the processes that torchrun started (nccl or gloo); without torchrun: one process, on the first GPU if any.

    Raises:
      DataError: this node has fewer GPUs than processes.
    """
    has_gpu = torch.cuda.is_available()
    if "RANK" not in os.environ:
        return World(), torch.device("cuda" if has_gpu else "cpu")
    local_rank = int(os.environ["LOCAL_RANK"])
    if has_gpu and local_rank >= torch.cuda.device_count():
        raise DataError(
            f"process {local_rank} of this node has no GPU: there are {torch.cuda.device_count()}; "
            "lower torchrun's --nproc-per-node"
        )
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if has_gpu else "gloo")
    return World(dist.get_rank(), dist.get_world_size()), device


def leave_world() -> None:
    """Undo join_world."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _message_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _average(tensors: list[Tensor], size: int) -> None:
    """Average tensors over processes in place, sending several tensors per message."""
    buckets: dict[torch.dtype, list[list[Tensor]]] = {}
    for t in tensors:
        same = buckets.setdefault(t.dtype, [[]])
        if same[-1] and sum(x.numel() for x in same[-1]) + t.numel() > BUCKET_NUMBERS:
            same.append([])
        same[-1].append(t)
    messages = []
    for bucket in (b for same in buckets.values() for b in same if b):
        flat = torch.cat([t.flatten() for t in bucket])
        messages.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in messages:
        work.wait()
        flat /= size
        for t, mean in zip(bucket, flat.split([t.numel() for t in bucket])):
            t.copy_(mean.view_as(t))
