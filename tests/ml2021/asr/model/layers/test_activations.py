"""Norm, activations, dropout and schedules of the Zipformer."""

from __future__ import annotations

import math

import numba
import pytest
import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.activations import (
    SWOOSH_L,
    SWOOSH_R,
    BiasNorm,
    ScaleGrad,
    SwooshLinear,
    drop_utterances,
    limit_parameter,
    shared_dropout,
    swoosh,
)
from ml2021.asr.model.layers.depthwise import depthwise_1d, depthwise_2d
from ml2021.asr.model.layers.schedule import Schedule, ScheduledModule, set_batch_count
from ml2021.asr.model.zipformer.layer import Bypass


def test_schedule_is_linear_between_its_points_and_constant_outside() -> None:
    schedule = Schedule(((10.0, 1.0), (20.0, 3.0), (40.0, 0.0)), default=7.0)
    counts = (None, 0, 10, 15, 20, 30, 40, 1e9)
    assert [schedule(c) for c in counts] == [7.0, 1.0, 1.0, 2.0, 3.0, 1.5, 0.0, 0.0]


def test_scheduled_values_are_used_in_training_only() -> None:
    inner = ScheduledModule()
    model = nn.Sequential(nn.Linear(1, 1), inner)
    schedule = Schedule(((0.0, 0.4), (100.0, 0.2)), default=0.9)
    assert inner.value(schedule) == 0.9 and inner.value(0.3) == 0.3
    set_batch_count(model, 50.0)
    assert inner.value(schedule) == pytest.approx(0.3)
    model.eval()
    assert inner.value(schedule) == 0.9


@pytest.mark.parametrize(("kind", "offset", "constant"), [(SWOOSH_L, 4.0, 0.035), (SWOOSH_R, 1.0, 0.313261687)])
def test_swoosh_and_its_gradient(kind: tuple[float, float], offset: float, constant: float) -> None:
    x = torch.linspace(-30, 60, 181, requires_grad=True)
    y = swoosh(x, kind)
    assert float(y[60].detach()) == pytest.approx(math.log(1 + math.exp(-offset)) - constant, abs=1e-6)  # x = 0
    expected = torch.logaddexp(torch.zeros(()), x.detach().double() - offset) - 0.08 * x.detach().double() - constant
    torch.testing.assert_close(y.detach().double(), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(swoosh(x.detach(), kind), y.detach()) or torch.allclose(swoosh(x.detach(), kind), y, atol=1e-5)
    (gradient,) = torch.autograd.grad(y, x, torch.full_like(x, 2.0))
    torch.testing.assert_close(gradient, 2 * (torch.sigmoid(x.detach() - offset) - 0.08))


def test_second_backward_through_swoosh_is_refused() -> None:
    """The first one overwrites the saved derivative."""
    loss = swoosh(torch.randn(4, requires_grad=True), SWOOSH_L).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def plain_bias_norm(x: Tensor, bias: Tensor, log_scale: Tensor) -> Tensor:
    return x * (x - bias).square().mean(dim=-1, keepdim=True) ** -0.5 * log_scale.exp()


def test_bias_norm_and_its_gradients() -> None:
    norm = BiasNorm(8).eval()
    with torch.no_grad():
        norm.bias.normal_()
    x, incoming = torch.randn(3, 5, 8, requires_grad=True), torch.randn(3, 5, 8)
    inputs = [x, norm.bias, norm.log_scale]
    y, expected = norm(x), plain_bias_norm(x, norm.bias, norm.log_scale)
    torch.testing.assert_close(y, expected)
    for a, b in zip(torch.autograd.grad(y, inputs, incoming), torch.autograd.grad(expected, inputs, incoming)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(norm(x), expected)


def test_limited_parameter_is_driven_back_inside() -> None:
    p = nn.Parameter(torch.tensor([-1.0, 0.5, 3.0]))
    for step in range(400):
        torch.manual_seed(step)
        # this loss pulls the first element down and the last one up
        (limit_parameter(p, 0.0, 1.0) * torch.tensor([1.0, 0.0, -1.0])).sum().backward()
        assert p.grad is not None
        p.data -= 0.05 * p.grad
        p.grad = None
    # some steps are not limited, so elements leave the limits by a little
    assert -0.3 < float(p[0]) < 0.3 and float(p[1]) == 0.5 and 0.7 < float(p[2]) < 1.3


def test_dropout_is_shared_by_frames_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    y = shared_dropout(torch.ones(200, 3, 50), 0.3)
    assert y.unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert torch.equal(y[:, :1].expand_as(y), y) and float(y.mean()) == pytest.approx(1.0, abs=0.03)
    dropped = drop_utterances(torch.ones(1000, 2, 2), 0.4)
    assert set(dropped.flatten(1).sum(dim=1).tolist()) == {0.0, 4.0}
    assert float(dropped.mean()) == pytest.approx(0.6, abs=0.05)


def test_swoosh_linear_drops_in_training_only() -> None:
    layer = SwooshLinear(8, 4, SWOOSH_L, dropout=Schedule(((0.0, 0.5),)), initial_scale=1.0)
    x = torch.randn(2, 3, 8)
    expected = nn.functional.linear(swoosh(x, SWOOSH_L), layer.weight, layer.bias)
    set_batch_count(layer, 0.0)
    assert not torch.allclose(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_scaled_gradient() -> None:
    x = torch.randn(4, requires_grad=True)
    module = ScaleGrad(0.2)
    y = module(x)
    assert torch.equal(y, x)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], torch.full((4,), 0.2))


def test_bypass_mixes_channel_by_channel_and_skips_whole_utterances() -> None:
    torch.manual_seed(0)
    bypass = Bypass(3, skip_rate=Schedule(((0.0, 0.5), (100.0, 0.0))))
    with torch.no_grad():
        bypass.bypass_scale.copy_(torch.tensor([0.0, 0.25, 1.0]))
    before, after = torch.zeros(400, 2, 3), torch.ones(400, 2, 3)
    mixed = torch.tensor([0.0, 0.25, 1.0]).expand(400, 2, 3)
    torch.testing.assert_close(bypass.eval()(before, after), mixed)
    bypass.train()
    set_batch_count(bypass, 0.0)
    skipped = (bypass(before, after)[:, :, 2] == 0).all(dim=1)
    assert 0.4 < float(skipped.float().mean()) < 0.6
    set_batch_count(bypass, 100.0)
    torch.testing.assert_close(bypass(before, after), mixed)


def test_bypass_scale_does_not_fall_below_its_minimum_early_in_training() -> None:
    """Early in training a module must not be bypassed: a loss that pulls the scale to 0 is resisted below 0.9."""
    for batch_count, low, high in ((0.0, 0.75, 1.0), (20000.0, 0.1, 0.35)):
        torch.manual_seed(0)
        bypass = Bypass(4)
        set_batch_count(bypass, batch_count)
        for _ in range(300):
            bypass(torch.zeros(1, 1, 4), torch.ones(1, 1, 4)).sum().backward()
            grad = bypass.bypass_scale.grad
            assert grad is not None
            bypass.bypass_scale.data -= 0.01 * grad
            bypass.bypass_scale.grad = None
        assert low < float(bypass.bypass_scale.mean()) < high


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("shape", [(2, 128, 9, 5), (1, 8, 1, 1), (3, 16, 4, 19)])
def test_depthwise_2d_and_its_gradients_are_those_of_torch(
    shape: tuple[int, ...], num_threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba, "get_num_threads", lambda: num_threads)
    conv = nn.Conv2d(shape[1], shape[1], 7, padding=3, groups=shape[1])
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    incoming, inputs = torch.randn(shape), [x, conv.weight, conv.bias]
    y, expected = depthwise_2d(x, conv), conv(x)
    torch.testing.assert_close(y, expected)
    for a, b in zip(torch.autograd.grad(y, inputs, incoming), torch.autograd.grad(expected, inputs, incoming)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_depthwise_1d_is_that_of_torch_on_rows() -> None:
    conv = nn.Conv1d(6, 6, 5, padding=2, groups=6)
    x = torch.randn(2, 11, 6)
    torch.testing.assert_close(depthwise_1d(x, conv, 2), conv(x.transpose(1, 2)).transpose(1, 2))
