"""The Balancer's kernels on a CPU agree with torch in double precision, for all sizes, layouts and thread counts."""

from __future__ import annotations

import numba
import pytest
import torch

from ml2021.asr.model.layers.balancer_kernel import pushed_on_cpu, violation_gradient_on_cpu
from ml2021.asr.model.layers.regularisers import violation_gradient
from ml2021.asr.model.layers.swoosh_kernel import ELEMENTS_PER_THREAD

LIMITS = (-0.3, 0.5, 0.2, 4.0)


@pytest.mark.parametrize("num_rows", [1, 2, 64, 2049])
def test_slopes_and_constants_agree_with_double_precision(num_rows: int) -> None:
    generator = torch.Generator().manual_seed(num_rows)
    x = torch.randn(num_rows, 40, generator=generator) * torch.logspace(-3, 2, 40) + torch.linspace(-3, 3, 40)
    actual, expected = violation_gradient_on_cpu(x, LIMITS), violation_gradient(x.double(), LIMITS)
    for a, b in zip(actual, expected):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-6)
    changed = (expected[0] != 0) | (expected[1] != 0)
    assert torch.equal((actual[0] != 0) | (actual[1] != 0), changed) and bool(changed.any())


def test_layouts_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    num_rows = ELEMENTS_PER_THREAD // 8 + 7
    grad, x = torch.randn(2, num_rows, 16)
    slope, constant = torch.randn(2, 16)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 1)
    alone = pushed_on_cpu(grad, x, slope, constant)
    torch.testing.assert_close(alone, grad + grad.abs() * (slope * x + constant))
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)  # at least one runs, whatever the limit here
    assert torch.equal(pushed_on_cpu(grad, x, slope, constant), alone)
    assert torch.equal(pushed_on_cpu(grad.t().contiguous().t(), x.repeat(1, 2)[:, :16], slope, constant), alone)


def test_a_value_that_is_not_finite_is_not_hidden() -> None:
    x = torch.randn(100, 3)
    x[5, 1] = float("nan")
    pushed = pushed_on_cpu(torch.ones(100, 3), x, *violation_gradient_on_cpu(x, LIMITS))
    assert bool(pushed[:, 0].isfinite().all())
    assert bool(pushed[:, 1].isnan().all())
