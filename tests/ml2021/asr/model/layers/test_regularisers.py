"""Modules that change only the gradient, compared with autograd's gradient of their definitions, and under SGD."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ml2021.asr.model.layers import regularisers
from ml2021.asr.model.layers.regularisers import Balancer, Whiten, _sample_rows, penalise_large, whitening_metric
from ml2021.asr.model.layers.schedule import Schedule, set_batch_count
from tests.ml2021.pretend_cuda import PretendCuda


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def violation(x: Tensor, min_mean: float, max_mean: float, min_rms: float, max_rms: float) -> Tensor:
    """The loss of the paper's balancer for x (R, C), one value per channel."""
    mean, square = x.mean(dim=0), x.square().mean(dim=0)
    ratio, rms = mean / (square - mean**2).sqrt(), square.sqrt()
    return (ratio - ratio.clamp(min_mean, max_mean)).abs() + (rms.clamp(min_rms, max_rms) / rms).log().abs()


@pytest.mark.parametrize("channel_dim", [-1, 1])
def test_balancer_adds_the_gradient_of_what_is_violated(channel_dim: int) -> None:
    offsets, sizes = torch.tensor([0.0, 2.0, -2.0, 0.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 1.0, 0.01, 50.0, 20.0])
    x = ((noise(300, 6) + offsets) * sizes).requires_grad_()
    balancer = Balancer(0.3, 0.7, 0.2, 5.0, probability=1.0, channel_dim=channel_dim)
    incoming = noise(300, 6, seed=1)
    shaped = x.reshape(10, 30, 6).movedim(-1, channel_dim)
    (gradient,) = torch.autograd.grad(balancer(shaped), x, incoming.reshape(10, 30, 6).movedim(-1, channel_dim))
    limits = (-0.8139535143 * 0.4236489, 0.8139535143 * 0.4236489, 0.2 * 1.2533141, 5.0 * 1.2533141)  # atanh(0.4)
    (direction,) = torch.autograd.grad(violation(x, *limits).sum(), x)
    direction = direction / direction.square().mean(dim=0).sqrt().clamp(min=1e-20)
    torch.testing.assert_close(gradient, incoming + 0.04 * incoming.abs() * direction, rtol=1e-3, atol=1e-4)
    assert torch.equal(gradient[:, 0], incoming[:, 0]) and not torch.equal(gradient[:, 1], incoming[:, 1])


@pytest.mark.parametrize("value", [0.0, -15.9, 1e-12, 1e4])
def test_balancer_of_a_constant_channel_stays_finite_and_small(value: float) -> None:
    x = (torch.full((500, 3), value) + 1e-6 * value * noise(500, 3)).requires_grad_()
    (gradient,) = torch.autograd.grad(Balancer(0.3, 0.7, 0.2, 5.0, probability=1.0)(x), x, torch.ones(500, 3))
    assert (gradient - 1).abs().amax() < 1.0


def descend(module: torch.nn.Module, x: Tensor, rate: float, num_steps: int) -> Tensor:
    """SGD on x with random gradients of mean 0, so that only the module's contribution has a direction."""
    for step in range(num_steps):
        x = x.detach().requires_grad_()
        module(x).backward(noise(*x.shape, seed=step).sign())
        assert x.grad is not None
        x = x - rate * x.grad
    return x.detach()


def test_balancer_brings_channels_back_inside_their_limits() -> None:
    start = noise(400, 5) * torch.tensor([1.0, 1.0, 0.02, 9.0, 1.0]) + torch.tensor([1.5, -1.5, 0.0, 0.0, 0.0])
    x = descend(Balancer(0.3, 0.7, 0.2, 4.0, probability=1.0, grad_scale=0.5), start, rate=0.02, num_steps=400)
    positive, mean_abs = (start > 0).float().mean(dim=0), start.abs().mean(dim=0)
    assert positive[0] > 0.9 and positive[1] < 0.1 and mean_abs[2] < 0.05 and mean_abs[3] > 6
    positive, mean_abs = (x > 0).float().mean(dim=0), x.abs().mean(dim=0)
    assert ((positive > 0.25) & (positive < 0.75)).all()
    assert ((mean_abs > 0.19) & (mean_abs < 4.2)).all()


def correlated(num_rows: int = 500, dim: int = 16) -> Tensor:
    """Rows whose variance lies mostly in one direction."""
    return noise(num_rows, dim) + 6 * noise(num_rows, 1, seed=1) * noise(1, dim, seed=2)


@pytest.mark.parametrize("num_groups", [1, 4])
def test_whiten_adds_the_gradient_of_its_metric(num_groups: int) -> None:
    x = correlated().requires_grad_()
    incoming = noise(500, 16, seed=3)
    (gradient,) = torch.autograd.grad(Whiten(2.0, 0.1, num_groups, probability=1.0)(x), x, incoming)
    (direction,) = torch.autograd.grad(whitening_metric(x, num_groups), x)
    expected = incoming + 0.1 * incoming.norm() / direction.norm() * direction
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
    (same,) = torch.autograd.grad(Whiten(50.0, 0.1, num_groups, probability=1.0)(x), x, incoming)
    assert torch.equal(same, incoming)  # the metric is below the limit


def test_whitening_metric_of_known_eigenvalues() -> None:
    x = torch.cat([torch.eye(2), -torch.eye(2)]) * torch.tensor([3.0, 1.0])  # covariance diag(18, 2)
    assert float(whitening_metric(x, 1)) == pytest.approx((18**2 + 2**2) / 2 / 10**2)
    assert float(whitening_metric(x / torch.tensor([3.0, 1.0]), 1)) == pytest.approx(1.0)


def test_whiten_lowers_the_metric() -> None:
    start = correlated()
    x = descend(Whiten(2.0, 1.0, probability=1.0), start, rate=0.05, num_steps=200)
    before, after = (float(whitening_metric(t, 1)) for t in (start, x))
    assert before > 8 and after < 0.5 * before


def test_large_values_are_penalised_and_others_are_not() -> None:
    x = torch.tensor([1.0, -30.0, 26.0, 25.0], requires_grad=True)
    penalise_large(x, limit=25.0, penalty=0.1).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 0.9, 1.1, 1.0]))


@pytest.mark.parametrize("module", [Balancer(0.4, 0.6, 0.2, 0.3, probability=1.0), Whiten(1.0, 0.1, probability=1.0)])
def test_gradients_are_unchanged_in_evaluation(module: torch.nn.Module) -> None:
    x = correlated().requires_grad_()
    incoming = noise(500, 16)
    (gradient,) = torch.autograd.grad(module.eval()(x), x, incoming)
    module.train()
    assert torch.equal(gradient, incoming)
    assert not torch.equal(torch.autograd.grad(module(x), x, incoming)[0], incoming)


def test_seed_decides_on_which_calls_they_act() -> None:
    balancer = Balancer(0.4, 0.6, 0.2, 0.3, probability=Schedule(((0.0, 0.8), (100.0, 0.2))))
    x = correlated().requires_grad_()

    def acted() -> list[bool]:
        torch.manual_seed(5)
        return [balancer(x) is not x for _ in range(300)]

    set_batch_count(balancer, 0.0)
    often = acted()
    assert often == acted() and 0.7 < sum(often) / 300 < 0.9
    set_batch_count(balancer, 1000.0)
    assert 0.1 < sum(acted()) / 300 < 0.3


def test_many_rows_are_treated_like_few() -> None:
    """Statistics are estimated from a sample of the rows, but the gradient of all rows changes."""
    x = (noise(30_000, 4) + torch.tensor([2.0, 0.0, 0.0, 0.0])).requires_grad_()
    incoming = noise(30_000, 4, seed=1)
    (gradient,) = torch.autograd.grad(Balancer(0.3, 0.7, 0.2, 5.0, probability=1.0)(x), x, incoming)
    changed = gradient != incoming
    assert float(changed[:, 0].float().mean()) > 0.99 and float((gradient - incoming)[:, 0].mean()) > 0.01
    assert torch.equal(gradient[:, 1:], incoming[:, 1:])


@pytest.mark.parametrize("num_bands", [80, 39, 19, 64])
def test_the_sample_of_rows_has_every_band_and_utterance_equally_often(num_bands: int) -> None:
    """A stride with a factor in common with the number of bands took rows of one band of 80 at some lengths."""
    for num_frames in range(1, 501):
        num_utterances = 1 + num_frames % 4
        bands = torch.arange(num_bands, dtype=torch.int32).expand(num_utterances, num_frames, num_bands)
        utterances = torch.arange(num_utterances, dtype=torch.int32)[:, None, None].expand_as(bands)
        rows = _sample_rows(torch.stack([bands, utterances], dim=-1))
        assert len(rows) == bands.numel() or 600 < len(rows) < 9000
        for column, size in ((0, num_bands), (1, num_utterances)):
            counts = rows[:, column].long().bincount(minlength=size)
            assert len(counts) == size and counts.max() - counts.min() <= max(1, 0.01 * counts.max())


@pytest.mark.parametrize("num_frames", [256, 410, 512])
def test_a_balancer_before_the_bands_are_joined_sees_the_same_as_from_all_rows(num_frames: int) -> None:
    """Channels that are positive in half of the bands: few bands would look as if all or none were."""
    x = noise(2, 8, num_frames, 80).abs() * torch.tensor([1.0, -1.0]).repeat(40)
    x.requires_grad_()
    incoming = noise(*x.shape, seed=1)
    (gradient,) = torch.autograd.grad(Balancer(0.3, 0.7, 0.2, 5.0, probability=1.0, channel_dim=1)(x), x, incoming)
    assert torch.equal(gradient, incoming)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "module",
    [
        Balancer(0.3, 0.7, 0.2, 5.0, probability=1.0),
        Balancer(0.3, 0.7, 0.2, 5.0, probability=1.0, channel_dim=1),
        Balancer(0.0, 1.0, 0.0, 100.0, probability=1.0),  # nothing to change
        Whiten(2.0, 0.1, probability=1.0),
        Whiten(2.0, 0.1, 2, probability=1.0),
        Whiten(99.0, 0.1, probability=1.0),  # nothing to change
    ],
    ids=["balancer", "balancer-images", "balancer-idle", "whiten", "whiten-groups", "whiten-idle"],
)
def test_the_kernels_of_a_cpu_do_what_torch_does(
    module: torch.nn.Module, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 rows of 8 channels, more than a sample."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(10, 8, 500, generator=g) * torch.linspace(0.01, 9, 8)[:, None] + torch.arange(8.0)[:, None]
    x = x if getattr(module, "channel_dim", -1) == 1 else x.transpose(1, 2)
    x = x.to(dtype).requires_grad_()
    incoming = torch.randn(x.shape, generator=g).to(dtype)
    gradients = []
    for on_cpu in (True, False):
        monkeypatch.setattr(regularisers, "on_cpu", lambda _, answer=on_cpu: answer)
        gradients.append(torch.autograd.grad(module(x), x, incoming)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-6)
    assert gradients[1].dtype == dtype


def test_regularisers_never_wait_for_a_gpu() -> None:
    with PretendCuda() as gpu:
        modules = torch.nn.ModuleList([Balancer(0.4, 0.6, 0.2, 0.3), Whiten(1.0, 0.1)])
        x = torch.randn(50, 6).to("cuda").requires_grad_()
        gpu.clear()
        for step in range(40):
            set_batch_count(modules, 1000.0 * step)
            y = penalise_large(x, 0.5, 0.1)
            for module in modules:
                y = module(y)
            y.sum().backward()
        assert x.grad is not None and x.grad.is_cuda
    assert gpu.syncs == [] and gpu.uploads == []
