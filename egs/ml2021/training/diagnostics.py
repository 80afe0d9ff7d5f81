"""Inspecting a model during training: the first module with non-finite values, and statistics of every tensor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError

HEADER = ("module", "kind", "calls", "shape", "mean", "rms", "min", "max", "zero %")


@contextlib.contextmanager
def inf_check(model: nn.Module) -> Iterator[None]:
    """Stop at the first module whose output is not finite, or the gradient of whose output is not finite.

    Raises:
      DataError: such a module was reached; the message names it.
    """

    def require(x: Tensor, what: str) -> None:
        if not bool(torch.isfinite(x).all()):
            raise DataError(
                f"{what} is not finite ({int(torch.isnan(x).sum())} NaN, {int(torch.isinf(x).sum())} inf of "
                f"{x.numel()}, shape {tuple(x.shape)}); everything before it was finite"
            )

    def look(name: str, output: Any) -> None:
        for i, x in enumerate(_float_tensors(output)):
            require(x.detach(), f"output {i} of {name}")
            if x.requires_grad:
                x.register_hook(lambda grad, i=i: require(grad, f"the gradient of output {i} of {name}"))

    with _hooked(model, look):
        yield


class Diagnostics:
    """Statistics over batches of every module's outputs, every parameter, and their gradients."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.rows: dict[tuple[str, str], _Sums] = {}

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Collect from the forward and backward passes in the with-block."""
        with _hooked(self.model, self._look):
            yield

    def add_parameters(self) -> None:
        """Collect from the current parameters and their gradients."""
        for name, p in self.model.named_parameters():
            self._add(name, "parameter", p)
            if p.grad is not None:
                self._add(name, "parameter grad", p.grad)

    def table(self) -> str:
        """One line per module or parameter and kind of tensor; HEADER names the columns."""
        lines = [HEADER, *((*key, *sums.columns()) for key, sums in sorted(self.rows.items()))]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
        return "".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() + "\n" for line in lines)

    def _look(self, name: str, output: Any) -> None:
        for i, x in enumerate(_float_tensors(output)):
            kind = "output" if i == 0 else f"output {i}"
            self._add(name, kind, x)
            if x.requires_grad:
                x.register_hook(lambda grad, kind=kind: self._add(name, f"{kind} grad", grad))

    def _add(self, name: str, kind: str, x: Tensor) -> None:
        self.rows.setdefault((name, kind), _Sums()).add(x.detach())


class _Sums:
    """Statistics over all values of several tensors."""

    def __init__(self) -> None:
        self.calls = self.count = 0
        self.shape: tuple[int, ...] = ()
        self.total = self.squares = self.zeros = 0.0
        self.smallest, self.largest = float("inf"), -float("inf")

    def add(self, x: Tensor) -> None:
        if x.numel() == 0:
            return
        self.calls, self.count, self.shape = self.calls + 1, self.count + x.numel(), tuple(x.shape)
        x = x.double()
        self.total += float(x.sum())
        self.squares += float(x.square().sum())
        self.zeros += float((x == 0).sum())
        self.smallest, self.largest = min(self.smallest, float(x.min())), max(self.largest, float(x.max()))

    def columns(self) -> tuple[str, ...]:
        """The columns of HEADER after module and kind."""
        n = max(self.count, 1)
        numbers = (self.total / n, (self.squares / n) ** 0.5, self.smallest, self.largest)
        shape = "x".join(map(str, self.shape)) or "scalar"
        return (str(self.calls), shape, *(f"{v:.4g}" for v in numbers), f"{100 * self.zeros / n:.1f}")


@contextlib.contextmanager
def _hooked(model: nn.Module, look: Any) -> Iterator[None]:
    """Call look(name, output) after the forward pass of every module."""
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _float_tensors(output: Any) -> list[Tensor]:
    """The floating-point tensors in a module's output, including those inside tuples and lists."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    if isinstance(output, (tuple, list)):
        return [x for part in output for x in _float_tensors(part)]
    return []
