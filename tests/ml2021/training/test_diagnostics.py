"""The first module with a non-finite value is named, and the statistics are correct."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import DataError
from ml2021.training.diagnostics import HEADER, Diagnostics, inf_check


class Root(nn.Module):
    """sqrt(|x|), with an infinite gradient at 0; returns a tuple, as some encoders do."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.abs().sqrt(), torch.tensor([1])


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.root, self.last = nn.Linear(2, 3), Root(), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.root(self.first(x))[0])


def test_finite_values_pass() -> None:
    model = Model()
    with inf_check(model):
        model(torch.randn(4, 2)).sum().backward()
    assert not any(m._forward_hooks for m in model.modules())


def test_module_with_non_finite_output_is_named() -> None:
    model = Model()
    with torch.no_grad():
        model.first.weight[1, 0] = float("inf")
    with inf_check(model), pytest.raises(DataError, match=r"output 0 of first is not finite \(0 NaN, 4 inf of 12"):
        model(torch.ones(4, 2))


def test_module_with_non_finite_gradient_is_named() -> None:
    model = Model()
    nn.init.zeros_(model.first.weight)
    nn.init.zeros_(model.first.bias)
    with inf_check(model), pytest.raises(DataError, match="the gradient of output 0 of first is not finite"):
        model(torch.ones(4, 2)).sum().backward()


def test_statistics_cover_all_batches() -> None:
    model = Model()
    diagnostics = Diagnostics(model)
    batches = [torch.randn(4, 2), torch.randn(6, 2)]
    for x in batches:
        with diagnostics.watch():
            model(x).sum().backward()
    diagnostics.add_parameters()
    rows = {tuple(line[:2]): line[2:] for line in (row.split("  ") for row in packed(diagnostics.table()))}
    assert tuple(packed(diagnostics.table())[0].split("  ")) == HEADER
    out = model.first(torch.cat(batches)).detach()
    calls, shape, mean, rms, smallest, largest, zeros = rows["first", "output"]
    assert (calls, shape, zeros) == ("2", "6x3", "0.0")
    for printed, value in ((mean, out.mean()), (rms, out.square().mean().sqrt()), (smallest, out.min())):
        assert float(printed) == pytest.approx(float(value), rel=1e-3)
    assert float(largest) == pytest.approx(float(out.max()), rel=1e-3)
    assert float(rows["last", "output grad"][2]) == 1.0 and rows["last.bias", "parameter grad"][2] == "10"


def packed(table: str) -> list[str]:
    """The lines of a table with exactly two spaces between columns."""
    return ["  ".join(c.strip() for c in line.split("  ") if c.strip()) for line in table.splitlines()]
