"""Training in several processes: ranks, sums and averages. With one process, all of it is a no-op.

DistributedDataParallel averages the gradients while backward still computes others. It wraps the loss of a task rather
than the model, since a task may call several parts of a model.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import Store
from torch.nn.parallel import DistributedDataParallel

from lhotse_prep.workflow.errors import DataError
from ml2021.training.task import StepLoss, Task

_MOST_ROUNDING = 0.01  # processors of other kinds round otherwise
T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The rank of this process and the number of processes; rank 0 writes files and logs."""

    rank: int = 0
    size: int = 1
    shares_batches: bool = False  # each batch is divided among the processes; false: each takes whole ones

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

    def sum_tensor(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, without waiting for it on a GPU."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

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

    @torch.no_grad()
    def require_same(self, model: nn.Module) -> None:
        """Raise DataError in all processes if a weight of one differs from rank 0's by more than rounding.

        Then they have not trained one model, whatever the losses look like.
        """
        if self.size == 1:
            return
        worst = 0.0  # difference relative to the root mean square of the tensor
        for parameter in model.parameters():
            of_main = parameter.detach().clone()
            dist.broadcast(of_main, 0)
            scale = of_main.float().square().mean().sqrt().clamp(min=1e-5)
            worst = max(worst, float(((parameter - of_main).abs() / scale).nan_to_num(nan=torch.inf).max()))
        worst = max(self.gather(worst))
        if worst > _MOST_ROUNDING:
            raise DataError(
                f"the weights of the {self.size} processes differ by up to {worst:.1%}: their gradients were not "
                "exchanged. Train in one process, and report this with the configuration"
            )

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


class LossModule(nn.Module):
    """A model with the loss of a task as its forward pass."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model, self.task = model, task
        self.result: StepLoss | None = None  # of the last call

    def forward(self, batch: Any, step: int) -> Tensor:
        """The scalar loss of a batch."""
        self.result = self.task.compute_loss(self.model, batch, step)
        return self.result.loss


class SharedLoss:
    """The loss of a task, whose gradients are averaged over all processes in the last backward pass of a step.

    Each process must call it equally often, and call backward each time. A parameter that no process has used in a step
    keeps no gradient; where some have, it counts as 0 in the others.
    """

    def __init__(self, model: nn.Module, task: Task, world: World) -> None:
        """
        Args:
          model: rank 0's weights are copied to the other processes at the first call.
        """
        self.module, self.world = LossModule(model, task), world
        self.parallel: DistributedDataParallel | None = None
        self._parameters = list(model.parameters())
        self._trained: list[bool] | None = None  # of each parameter, when self.parallel was made

    def _exchange(self) -> None:
        """Exchange gradients of what is trained now. What did not need a gradient before would be left out for good."""
        trained = [p.requires_grad for p in self._parameters]
        if trained == self._trained:
            return
        self.parallel, self._trained = None, trained
        if self.world.size > 1 and any(trained):
            # depthwise convolutions give gradients with other strides in a dimension of size 1, which is harmless
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            self.parallel = DistributedDataParallel(
                self.module, broadcast_buffers=False, find_unused_parameters=True, gradient_as_bucket_view=True
            )

    def __call__(self, batch: Any, step: int, counts: bool = True) -> StepLoss:
        """The loss of a batch, or of this process's part of it.

        Args:
          counts: false: another process has the same part.
        """
        self.module.task.choose_trained(self.module.model, step)
        self._exchange()
        loss = (self.parallel or self.module)(batch, step)
        result, self.module.result = self.module.result, None
        assert result is not None
        result = replace(result, loss=loss)
        if not self.world.shares_batches:
            return result
        total = self.world.sum({"weight": result.weight if counts else 0.0})["weight"]
        return result.part(self.world.size, total, counts)

    def without_exchange(self) -> contextlib.AbstractContextManager[Any]:
        """A context for the forward and backward passes of a step's batches before the last: they only accumulate."""
        return contextlib.nullcontext() if self.parallel is None else self.parallel.no_sync()


def join_world(store: Store | None = None) -> tuple[World, torch.device]:
    """Join the processes that torchrun started (nccl or gloo); without torchrun: one process, on the first GPU if any.

    Args:
      store: where the processes meet; None: at the address that torchrun sets.
    Raises:
      DataError: this node has fewer GPUs than processes, or a variable of torchrun is missing.
    """
    has_gpu = torch.cuda.is_available()
    if "RANK" not in os.environ:
        return World(), torch.device("cuda" if has_gpu else "cpu")
    missing = [name for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise DataError(f"the environment has RANK, but no {' and no '.join(missing)}: set them as torchrun does")
    local_rank = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", os.environ["RANK"])))
    if has_gpu and local_rank >= torch.cuda.device_count():
        raise DataError(
            f"process {local_rank} of this node has no GPU: there are {torch.cuda.device_count()}; "
            "lower torchrun's --nproc-per-node"
        )
    device = torch.device("cuda", local_rank) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if not dist.is_initialized():
        backend = "nccl" if has_gpu else "gloo"
        if store is None:
            dist.init_process_group(backend)
        else:
            dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    return World(rank, size), device


def leave_world() -> None:
    """Undo join_world."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def in_world() -> Iterator[tuple[World, torch.device]]:
    """Join the processes that torchrun started, and leave them at the end; only the main process logs.

    Processes on CPUs make one training quicker: they share each batch, so that their number changes no result but by
    rounding and by the random numbers of dropout. Each GPU takes whole batches, as in icefall.
    """
    world, device = join_world()
    world = replace(world, shares_batches=world.size > 1 and device.type == "cpu")
    if not world.is_main:
        logging.getLogger().setLevel(logging.ERROR)
    try:
        yield world, device
    finally:
        leave_world()


def _message_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _average(tensors: list[Tensor], size: int) -> None:
    """Average tensors over processes in place, those of one type in one message."""
    for dtype in {t.dtype: None for t in tensors}:
        same = [t for t in tensors if t.dtype == dtype]
        flat = torch.cat([t.flatten() for t in same])
        dist.all_reduce(flat)
        flat /= size
        for t, mean in zip(same, flat.split([t.numel() for t in same])):
            t.copy_(mean.view_as(t))
