"""Functions of the encoder's layers that torch.compile can fuse into one kernel each, which saves passes over memory.

They are pure functions of tensors, called inside autograd functions: neither a checkpoint nor a module is changed, and
random numbers, schedules and the choice of what a step skips stay outside.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from lhotse_prep.workflow.errors import ConfigError

RECOMPILED = 64  # variants of a function (dtypes, memory layouts, sizes of 1) before torch gives up compiling it
Result = TypeVar("Result")
_compiled: dict[Callable[..., Any], Callable[..., Any]] | None = None  # None: nothing is compiled


def fused(function: Callable[..., Result]) -> Callable[..., Result]:
    """A function that is compiled at its first call after use_compiled(True); it takes any shapes."""

    @functools.wraps(function)
    def call(*args: Any) -> Result:
        if _compiled is None:
            return function(*args)
        if function not in _compiled:
            _compiled[function] = torch.compile(function, dynamic=True)
        result: Result = _compiled[function](*args)
        return result

    return call


def use_compiled(on: bool, device: torch.device) -> None:
    """Whether this process uses compiled functions from now on.

    Raises:
      ConfigError: torch.compile does not work here, for example without a C++ compiler; the message says why.
    """
    global _compiled
    _compiled = None
    if not on:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.compile(_sample, dynamic=True)(torch.ones(64, device=device))
    except Exception as e:  # of many types, by backend
        reason = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise ConfigError(
            f"compile: true needs torch.compile, which does not work on this {device.type} ({reason.strip()}): install "
            "a C++ compiler (g++) and Python's header files, or set compile: false"
        ) from e
    torch._dynamo.config.recompile_limit = max(RECOMPILED, torch._dynamo.config.recompile_limit)
    _compiled = {}


def _sample(x: torch.Tensor) -> torch.Tensor:
    return x.sigmoid() * x
