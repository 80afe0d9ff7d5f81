"""Several processes as one: who this process is, and sums over all, started by torchrun; alone, everything is a no-op.

Gradients are summed by this module, not by a wrapper around the model: layers that a step leaves out, layers that are
frozen for a while and accumulated batches need no special case, and all processes get the same bits.
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
BUCKET_NUMBERS = 8_000_000  # gradients summed in one message


@dataclass(frozen=True)
class World:
    """This process among all: rank 0 writes files and logs."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """The sum of each value over all processes, which must give the same keys."""
        if self.size == 1:
            return dict(values)
        names = sorted(values)
        total = torch.tensor([values[n] for n in names], dtype=torch.float64, device=_message_device())
        dist.all_reduce(total)
        return dict(zip(names, total.tolist()))

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the mean of the gradients; where some have none for a parameter, theirs counts as 0."""
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
        """Give every process the mean of what layers remember of their inputs, such as running statistics."""
        if self.size > 1:
            _average([b for b in model.buffers() if b.is_floating_point()], self.size)

    @torch.no_grad()
    def broadcast(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of rank 0."""
        if self.size > 1:
            for tensor in model.state_dict().values():
                dist.broadcast(tensor, 0)

    def from_main(self, value: T) -> T:
        """What rank 0 has, a plain value, to all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """What each process has, plain values, in the order of ranks."""
        if self.size == 1:
            return [value]
        box: list[T | None] = [None] * self.size
        dist.all_gather_object(box, value)
        return cast(list[T], box)

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            dist.barrier()


def join_world() -> tuple[World, torch.device]:
    """Join the processes that torchrun started, by nccl or gloo; without it: one process, on the first GPU if any.

    Raises:
      DataError: a node runs more processes than it has GPUs.
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
    """Close what join_world opened."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _message_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _average(tensors: list[Tensor], size: int) -> None:
    """Mean over processes, in place, several tensors a message."""
    buckets: dict[torch.dtype, list[list[Tensor]]] = {}
    for t in tensors:
        same = buckets.setdefault(t.dtype, [[]])
        if same[-1] and sum(x.numel() for x in same[-1]) + t.numel() > BUCKET_NUMBERS:
            same.append([])
        same[-1].append(t)
    sent = []
    for bucket in (b for same in buckets.values() for b in same if b):
        flat = torch.cat([t.flatten() for t in bucket])
        sent.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
    for bucket, flat, work in sent:
        work.wait()
        flat /= size
        for t, mean in zip(bucket, flat.split([t.numel() for t in bucket])):
            t.copy_(mean.view_as(t))
