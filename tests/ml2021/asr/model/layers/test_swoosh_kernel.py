"""SwooshL, SwooshR and their derivatives agree with double precision, for all sizes, layouts and thread counts."""

from __future__ import annotations

import numba
import pytest
import torch
from torch import Tensor

from ml2021.asr.model.layers.activations import SWOOSH_L, SWOOSH_R
from ml2021.asr.model.layers.swoosh_kernel import ELEMENTS_PER_THREAD, swoosh_alone, swoosh_and_derivative


def exact(x: Tensor, offset: float, constant: float) -> tuple[Tensor, Tensor]:
    x = x.double()
    y = torch.logaddexp(torch.zeros((), dtype=torch.float64), x - offset) - 0.08 * x - constant
    return y, torch.sigmoid(x - offset) - 0.08


@pytest.mark.parametrize("kind", [SWOOSH_L, SWOOSH_R])
def test_values_agree_with_double_precision(kind: tuple[float, float]) -> None:
    x = torch.cat([torch.linspace(-120, 120, 20001), torch.tensor([0.0, -1e30, 1e30, 1e-30, 88.0, 89.0])])
    (y, derivative), (expected, slope) = swoosh_and_derivative(x, *kind), exact(x, *kind)
    torch.testing.assert_close(y.double(), expected, atol=3e-6, rtol=3e-7)
    torch.testing.assert_close(derivative.double(), slope, atol=2e-7, rtol=0)
    assert torch.equal(swoosh_alone(x, *kind), y)


def test_what_is_not_finite_stays_so() -> None:
    y, derivative = swoosh_and_derivative(torch.tensor([float("nan"), float("inf"), 1.0]), *SWOOSH_R)
    assert y.isfinite().tolist() == [False, False, True] and bool(derivative[0].isnan())


def test_memory_formats_are_kept() -> None:
    image = torch.randn(2, 3, 5, 4).contiguous(memory_format=torch.channels_last)
    for x in (image, image.transpose(1, 3), torch.randn(6, 8)[:, ::2], torch.randn(0, 3), torch.randn(())):
        y, derivative = swoosh_and_derivative(x, *SWOOSH_L)
        for actual, expected in zip((y, derivative, swoosh_alone(x, *SWOOSH_L)), (*exact(x, *SWOOSH_L), y)):
            torch.testing.assert_close(actual.double(), expected.double(), atol=1e-6, rtol=1e-6)
    assert swoosh_alone(image, *SWOOSH_L).is_contiguous(memory_format=torch.channels_last)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2 * ELEMENTS_PER_THREAD + 7)
    alone = swoosh_and_derivative(x, *SWOOSH_L)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 2)  # at least one runs, whatever the limit here
    for a, b in zip(swoosh_and_derivative(x, *SWOOSH_L), alone):
        assert torch.equal(a, b)
