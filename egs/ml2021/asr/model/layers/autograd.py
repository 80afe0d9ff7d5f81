"""A typed way to call an autograd function: torch leaves `apply` without types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.autograd import Function


def apply_function(function: type[Function], *args: Any) -> Any:
    """function.apply(*args): whatever its forward returns, recorded for the backward pass."""
    apply: Callable[..., Any] = function.apply
    return apply(*args)
