"""Linear layers computed in blocks give the results and gradients of the layers one after the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ml2021.asr.model.layers import blocks
from ml2021.asr.model.layers.activations import SWOOSH_L, swoosh
from ml2021.asr.model.layers.blocks import widen_and_narrow
from ml2021.asr.model.layers.regularisers import Balancer

CHANNELS, HIDDEN = 6, 20


def layers() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide, narrow = nn.Linear(CHANNELS, HIDDEN), nn.Linear(HIDDEN, CHANNELS)
    return wide.weight, wide.bias, narrow.weight, narrow.bias


def one_after_the_other(rows: Tensor, layers: tuple[Tensor, ...], balancer: Balancer) -> Tensor:
    hidden = swoosh(balancer(nn.functional.linear(rows, *layers[:2])), SWOOSH_L)
    return nn.functional.linear(hidden, *layers[2:])


def in_blocks(rows: Tensor, layers: tuple[Tensor, Tensor, Tensor, Tensor], balancer: Balancer) -> Tensor:
    return widen_and_narrow(rows, layers, balancer.draw(requires_grad=True))


def gradients(
    function: Callable[..., Tensor], rows: Tensor, parameters: tuple[Tensor, ...], *args: object
) -> list[Tensor]:
    """The result, and the gradients of rows and parameters."""
    y = function(rows, parameters, *args)
    (y * torch.linspace(-1, 2, y.numel()).view_as(y)).sum().backward()
    results = [y.detach(), *(t.grad for t in (rows, *parameters))]
    for t in (rows, *parameters):
        t.grad = None
    return results


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 7, 3), (33,)])
@pytest.mark.parametrize("is_pushed", [False, True])
def test_results_and_gradients_are_those_of_the_layers(
    shape: tuple[int, ...], is_pushed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 8)
    torch.manual_seed(1)
    rows, parameters = torch.randn(*shape, CHANNELS, requires_grad=True), layers()
    balancer = Balancer(0.3, 0.4, 2.0, 2.1, probability=float(is_pushed)).train()
    expected = gradients(one_after_the_other, rows, parameters, balancer)
    actual = gradients(in_blocks, rows, parameters, balancer)
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=2e-4)
    if is_pushed:
        without = gradients(in_blocks, rows, parameters, Balancer(probability=0.0).train())
        assert not torch.allclose(without[1], actual[1], atol=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(widen_and_narrow(rows, parameters, None), expected[0], atol=1e-6, rtol=1e-5)


def test_no_gradient_is_computed_for_frozen_layers() -> None:
    parameters = tuple(t.detach() for t in layers())
    assert not widen_and_narrow(torch.randn(40, CHANNELS), parameters, None).requires_grad  # type: ignore[arg-type]


def test_bf16_changes_results_and_gradients_by_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 16)
    rows, parameters = torch.randn(50, CHANNELS, requires_grad=True), layers()
    balancer = Balancer(probability=0.0).train()
    exact = gradients(in_blocks, rows, parameters, balancer)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = gradients(in_blocks, rows, parameters, balancer)
    assert all(t.dtype == torch.float32 for t in rounded)
    for a, b in zip(rounded, exact, strict=True):
        assert not torch.equal(a, b) or a.shape == (CHANNELS,)
        assert float((a - b).norm() / b.norm()) < 0.02
