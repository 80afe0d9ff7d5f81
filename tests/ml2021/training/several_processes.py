"""Running a function in several processes that have joined as torchrun's do, without importing torch again in each."""

from __future__ import annotations

import logging
import multiprocessing
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ml2021.training.config import TrainConfig
from ml2021.training.distributed import World, in_world

SHORT = TrainConfig(
    num_epochs=2,
    base_lr=0.02,
    warmup_steps=2,
    average_period=2,
    average_epochs=1,
    keep_epochs=3,
    save_every_n=2,
    scan_worst_batches=False,
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch.distributed", "torch._dynamo", "ml2021.training.trainer"])


def in_processes(
    function: Callable[..., None], size: int, *arguments: Any, join: bool = True, shares_batches: bool = False
) -> None:
    """Run function(world, *arguments) in `size` processes (gloo); it must be at the top of a module.

    Without join: function(*arguments), with the variables that torchrun sets.
    """
    with socket.socket() as s:
        s.bind(("localhost", 0))
        port = s.getsockname()[1]
    ranks = [(rank, size, port, function, arguments, join, shares_batches) for rank in range(size)]
    processes = [CONTEXT.Process(target=_run, args=args) for args in ranks]
    for p in processes:
        p.start()
    for p in processes:
        p.join(timeout=200)
    codes = [p.exitcode for p in processes]
    for p in processes:
        p.kill()
    assert codes == [0] * size


def _run(
    rank: int, size: int, port: int, function: Callable[..., None], arguments: Any, join: bool, shares_batches: bool
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    if not join:
        function(*arguments)
        return
    with in_world() as (world, _):
        assert isinstance(world, World) and world.size == size and world.shares_batches == (size > 1)
        function(replace(world, shares_batches=shares_batches), *arguments)
