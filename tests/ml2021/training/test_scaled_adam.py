"""ScaledAdam and Eden: numbers from icefall, and their properties."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ml2021.training.config import TrainConfig
from ml2021.training.learning_rate import eden, learning_rate
from ml2021.training.optimizers import ScaledAdam, make_optimizer, max_grad_norm

GOLDEN = Path(__file__).parents[2] / "goldens" / "scaled_adam.npz"


def steps(
    optimizer: ScaledAdam, parameters: list[nn.Parameter], grads: list[Tensor], rates: list[float] | None = None
) -> None:
    """Make S steps; grads[i] (S, ...) has the gradients of parameters[i]."""
    for t in range(len(grads[0])):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates[t]
        for p, g in zip(parameters, grads):
            p.grad = g[t].clone()
        optimizer.step()


def test_steps_and_rates_equal_icefalls() -> None:
    golden = {k: torch.from_numpy(v) for k, v in np.load(GOLDEN).items()}
    parameters = [nn.Parameter(golden[f"init_{i}"].clone()) for i in range(6)]
    grads, rates = [golden[f"grad_{i}"] for i in range(6)], golden["lr"].tolist()
    assert [eden(0.045, t, t // 40, 50.0, 1.5, 20.0, 0.5) for t in range(130)] == pytest.approx(rates)
    optimizer, num_steps = ScaledAdam(parameters, clipping_scale=2.0), 0
    for count in (1, 4, 11, 45, 130):
        steps(optimizer, parameters, [g[num_steps:count] for g in grads], rates[num_steps:count])
        num_steps = count
        for i, p in enumerate(parameters):
            torch.testing.assert_close(p.detach(), golden[f"after_{count}_{i}"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "epoch", "rate"),
    [
        (0, 0, 0.1),  # warm-up begins at a tenth
        (250, 0, 0.55 * (1 + 1 / 900) ** -0.25),
        (7500, 0, 2**-0.25),
        (0, 3.5, 0.1 * 2**-0.25),
        (30000, 10.5, 17**-0.25 * 10**-0.25),
    ],
)
def test_eden_at_points_computed_by_hand(step: int, epoch: float, rate: float) -> None:
    assert eden(1.0, step, epoch, 7500.0, 3.5) == pytest.approx(rate)


@pytest.mark.parametrize("factor", [0.01, 30.0])
def test_a_parameter_in_other_units_takes_the_same_steps(factor: float) -> None:
    g = torch.Generator().manual_seed(0)
    start, grads = 0.05 * torch.randn(6, 4, generator=g), torch.randn(60, 6, 4, generator=g)
    plain, scaled = nn.Parameter(start.clone()), nn.Parameter(start * factor)
    for p, gradient in ((plain, grads), (scaled, grads / factor)):
        steps(ScaledAdam([p], lr=0.03, param_min_rms=1e-8, param_max_rms=1e3, eps=1e-16), [p], [gradient])
    assert (plain.detach() - start).abs().max() > 0.01
    torch.testing.assert_close(scaled.detach() / factor, plain.detach(), rtol=1e-3, atol=1e-5)


def test_parameters_of_one_shape_are_independent() -> None:
    g = torch.Generator().manual_seed(1)
    starts, grads = list(torch.randn(3, 5, 2, generator=g)), list(torch.randn(3, 25, 5, 2, generator=g))
    together = [nn.Parameter(s.clone()) for s in starts]
    steps(ScaledAdam(together, clipping_scale=1e9), together, grads)
    for start, gradient, p in zip(starts, grads, together):
        alone = nn.Parameter(start.clone())
        steps(ScaledAdam([alone], clipping_scale=1e9), [alone], [gradient])
        torch.testing.assert_close(alone, p)


def test_size_is_learned_within_its_limits() -> None:
    """A gradient that always increases a tensor makes it grow up to param_max_rms."""
    p = nn.Parameter(torch.tensor([[0.5, -0.5], [0.5, -0.5]]))
    optimizer = ScaledAdam([p], lr=0.02, param_max_rms=2.0)
    sizes = []
    for _ in range(400):
        p.grad = -p.detach().sign()
        optimizer.step()
        sizes.append(float(p.detach().square().mean().sqrt()))
    assert sizes[20] > sizes[0] > 0.5 and 1.9 < sizes[-1] < 2.3
    one = nn.Parameter(torch.tensor(9.0))
    steps(ScaledAdam([one], lr=1.0), [one], [-torch.ones(50)])
    assert float(one) == 10.0  # scalar_max


def test_gradients_are_clipped_to_twice_the_median_norm() -> None:
    g = torch.Generator().manual_seed(2)
    start, grads = torch.randn(4, 4, generator=g), torch.randn(120, 4, 4, generator=g)
    outlier = grads.clone()
    outlier[110] *= 1000
    limited = grads.clone()
    p = nn.Parameter(start.clone())
    optimizer = ScaledAdam([p])
    steps(optimizer, [p], [grads[:110]])
    state = optimizer.state[p]
    limited[110] *= float(state["threshold"] / (state["rms"].flatten() * grads[110].norm()))
    results = []
    for gradients in (outlier, limited):
        p = nn.Parameter(start.clone())
        steps(ScaledAdam([p]), [p], [gradients])
        results.append(p.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_resumed_from_its_state_it_continues_exactly() -> None:
    g = torch.Generator().manual_seed(3)
    parameters = [nn.Parameter(torch.randn(s, generator=g)) for s in ((3, 2), (3, 2), (4,), ())]
    grads = [torch.randn(57, *p.shape, generator=g) for p in parameters]
    optimizer = ScaledAdam(parameters)
    steps(optimizer, parameters, [x[:30] for x in grads])
    others = copy.deepcopy(parameters)
    resumed = ScaledAdam(others)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for optim, weights in ((optimizer, parameters), (resumed, others)):
        steps(optim, weights, [x[30:] for x in grads])
    assert all(torch.equal(a, b) for a, b in zip(parameters, others))


def test_parameter_without_gradient_does_not_change() -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = ScaledAdam([used, unused])
    used.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(unused, torch.ones(3)) and not torch.equal(used, torch.ones(3))


def test_configuration_chooses_optimiser_rate_and_clipping() -> None:
    layer = nn.Linear(2, 2)
    scaled = TrainConfig(
        optimizer="scaled_adam", schedule="eden", base_lr=0.045, num_epochs=10, warmup_steps=100, lr_epochs=2.0
    )
    assert isinstance(make_optimizer(layer, scaled), ScaledAdam) and max_grad_norm(scaled) == float("inf")
    assert learning_rate(scaled, 600, 1000) == eden(0.045, 601, 6, 7500.0, 2.0, 100)
    assert learning_rate(scaled, 0, 1000) == pytest.approx(0.045 * (0.1 + 0.9 / 100), rel=1e-4)
    halves = replace(scaled, warmup_start=0.5)
    assert learning_rate(halves, 0, 1000) == pytest.approx(0.045 * (0.5 + 0.5 / 100), rel=1e-4)
    plain = TrainConfig()
    assert isinstance(make_optimizer(layer, plain), torch.optim.AdamW) and max_grad_norm(plain) == plain.grad_clip
