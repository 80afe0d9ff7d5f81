"""Balancer, Whiten and a limit on scores: identities that change only the gradient (Yao et al., 2023, section 3.5).

Each acts on a random fraction of the calls. None of them keeps state, so a resumed training repeats exactly.

Legend: R rows (all other axes flattened), C channels, G groups of channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ml2021.asr.model.layers.autograd import apply_function
from ml2021.asr.model.layers.balancer_kernel import TINY, pushed_on_cpu, violation_gradient_on_cpu
from ml2021.asr.model.layers.fused import fused
from ml2021.asr.model.layers.schedule import FloatLike, Schedule, ScheduledModule, chance

BALANCER_PROBABILITY = Schedule(((0.0, 0.5), (8000.0, 0.125)), default=0.4)
WHITEN_PROBABILITY = 0.25
_SAMPLE_ROWS = 2048  # rows used to estimate statistics, at most about this many


class Push(NamedTuple):
    """What a Balancer does in one call: minimum and maximum of mean / stddev and of rms, and the gradient's scale."""

    limits: tuple[float, float, float, float]
    grad_scale: float


class Balancer(ScheduledModule):
    """Keeps the proportion of positive values and the mean absolute value of each channel within limits.

    Assuming normally distributed values, the limits are converted to limits on mean / stddev and on the root mean
    square. For a channel outside its limits, the gradient of the violation is added, scaled by grad_scale and by the
    magnitude of the incoming gradient.
    """

    def __init__(
        self,
        min_positive: FloatLike = 0.05,
        max_positive: FloatLike = 0.95,
        min_abs: FloatLike = 0.2,
        max_abs: FloatLike = 100.0,
        probability: FloatLike = BALANCER_PROBABILITY,
        grad_scale: float = 0.04,
        channel_dim: int = -1,
    ) -> None:
        super().__init__()
        self.min_positive, self.max_positive = min_positive, max_positive
        self.min_abs, self.max_abs = min_abs, max_abs
        self.probability, self.grad_scale, self.channel_dim = probability, grad_scale, channel_dim

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape, with channels in channel_dim."""
        push = self.draw(x.requires_grad)
        if push is None:
            return x
        y: Tensor = apply_function(_BalancerFunction, x, push, self.channel_dim)
        return y

    def draw(self, requires_grad: bool) -> Push | None:
        """What to do in this call, None: nothing."""
        if not (self.training and requires_grad and chance(self.value(self.probability))):
            return None
        low, high = (_mean_of_proportion(self.value(p)) for p in (self.min_positive, self.max_positive))
        min_rms, max_rms = (math.sqrt(math.pi / 2) * self.value(a) for a in (self.min_abs, self.max_abs))
        return Push((low, high, min_rms, max_rms), self.grad_scale)


def _mean_of_proportion(positive: float) -> float:
    """mean / stddev of a normal variable that is positive with this probability (approximate inverse of erf)."""
    x, eps = 2 * positive - 1, 1e-10
    return 0.8139535143 * 0.5 * (math.log(1 + x + eps) - math.log(1 - x + eps))


class _BalancerFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, push: Push, channel_dim: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.arguments = push, channel_dim
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        push, channel_dim = ctx.arguments
        x = x.movedim(channel_dim, -1)
        affine = push_of(x, lambda sample: sample, push)
        if affine is None:
            return grad, None, None
        changed = pushed(grad.movedim(channel_dim, -1), x, *affine)
        return changed.movedim(-1, channel_dim), None, None


def push_of(rows: Tensor, channels: Callable[[Tensor], Tensor], push: Push | None) -> tuple[Tensor, Tensor] | None:
    """The slope and constant (C,) for pushed; None: nothing is to be changed.

    Args:
      rows: (..., D).
      channels: from some of the rows (R, D) to the channels (R, C) that the push is about.
      push: what the Balancer drew.
    """
    if push is None:
        return None
    sample = channels(_sample_rows(rows))
    if not on_cpu(rows):
        slope, constant = violation_gradient(sample, push.limits)
    else:
        slope, constant = violation_gradient_on_cpu(sample.float(), push.limits)
        if not bool(slope.any() or constant.any()):
            return None  # on a GPU, to look at the values would make the process wait for it
    return slope * push.grad_scale, constant * push.grad_scale


def on_cpu(x: Tensor) -> bool:
    """Whether to use the CPU's kernels, and to look at values where that saves work."""
    return x.device.type == "cpu"


def pushed(grad: Tensor, x: Tensor, slope: Tensor, constant: Tensor) -> Tensor:
    """grad + |grad| * (slope * x + constant), in the type of grad; grad and x (..., C), slope and constant (C,)."""
    if not on_cpu(x):
        return _pushed(grad, x, slope, constant)
    rows, grad_rows = (t.reshape(-1, t.shape[-1]).float() for t in (x, grad))
    return pushed_on_cpu(grad_rows, rows, slope, constant).to(grad.dtype).view(x.shape)


@fused
def _pushed(grad: Tensor, x: Tensor, slope: Tensor, constant: Tensor) -> Tensor:
    return torch.addcmul(constant, x.float(), slope).mul_(grad.abs()).add_(grad).to(grad.dtype)


def _sample_rows(x: Tensor) -> Tensor:
    """(..., C) -> (R, C) in float32: evenly spaced rows, about _SAMPLE_ROWS at most."""
    rows = x.reshape(-1, x.shape[-1])
    return rows[:: _stride(rows.shape[0])].float()


@lru_cache(maxsize=1024)
def _stride(num_rows: int) -> int:
    """The stride nearest to num_rows / _SAMPLE_ROWS that has no common factor with num_rows.

    With a common factor, all rows could be of a few mel bins, or of a few utterances: x has axes before its channels,
    whose sizes divide num_rows. Without one, every index of every axis is taken equally often, to one row.
    """
    wanted = max(1, num_rows // _SAMPLE_ROWS)
    above = next(s for s in count(wanted) if math.gcd(s, num_rows) == 1)
    below = next(s for s in range(wanted, 0, -1) if math.gcd(s, num_rows) == 1)
    return above if above * below <= wanted * wanted else below


def violation_gradient(x: Tensor, limits: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """The gradient of each channel's violation, as slope * x + constant with a root mean square of 1.

    With m = mean / stddev, the violation is |m - clamp(m)| + |log(clamp(rms) / rms)|; the gradient of both terms is
    affine in x. Channels within their limits get slope and constant 0.

    Args:
      x: (R, C).
      limits: minimum and maximum of m, minimum and maximum of rms.
    Returns:
      slope (C,), constant (C,).
    """
    min_mean, max_mean, min_rms, max_rms = limits
    mean, square = x.mean(dim=0).double(), x.square().mean(dim=0).clamp(min=TINY).double()
    variance = torch.maximum(square - mean * mean, 1e-6 * square)  # a constant channel would leave only rounding errors
    stddev, rms = variance.sqrt(), square.sqrt()
    ratio = mean / stddev
    mean_sign = (ratio > max_mean).double() - (ratio < min_mean).double()
    rms_sign = (rms > max_rms).double() - (rms < min_rms).double()
    slope = rms_sign / square - mean_sign * mean / stddev**3
    middle = rms_sign * mean / square + mean_sign / stddev  # the gradient at the mean
    size = (slope**2 * variance + middle**2).clamp(min=TINY).sqrt()
    return (slope / size).to(x.dtype), ((middle - slope * mean) / size).to(x.dtype)


class Whiten(ScheduledModule):
    """Keeps the covariance of channels (within each group) from having a few large eigenvalues.

    The metric (whitening_metric) is 1 if all eigenvalues are equal. Where it exceeds the limit, its gradient is added,
    scaled to grad_scale times the norm of the incoming gradient.
    """

    def __init__(
        self, limit: FloatLike, grad_scale: float, num_groups: int = 1, probability: float = WHITEN_PROBABILITY
    ) -> None:
        super().__init__()
        self.limit, self.grad_scale = limit, grad_scale
        self.num_groups, self.probability = num_groups, probability

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        if not (self.training and x.requires_grad and chance(self.probability)):
            return x
        y: Tensor = apply_function(_WhitenFunction, x, self.value(self.limit), self.grad_scale, self.num_groups)
        return y


class _WhitenFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float, grad_scale: float, num_groups: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.arguments = limit, grad_scale, num_groups
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        limit, grad_scale, num_groups = ctx.arguments
        sample = _sample_rows(x)
        centred, covariance = _covariance(sample, num_groups)
        metric = _metric(covariance)
        if on_cpu(x) and float(metric) < limit:
            return grad, None, None, None
        if sample.numel() < x.numel():
            centred, covariance = _covariance(x.reshape(-1, x.shape[-1]).float(), num_groups)
        push = _whitening_gradient(centred, covariance).view(x.shape)
        scale = grad_scale * grad.float().norm() / (push.norm() + TINY)
        scale = torch.where(metric < limit, torch.zeros_like(scale), scale)
        return grad + push.mul_(scale).to(grad.dtype), None, None, None


def whitening_metric(x: Tensor, num_groups: int) -> Tensor:
    """Mean squared eigenvalue of the covariance divided by the squared mean eigenvalue: (R, C) -> scalar >= 1."""
    return _metric(_covariance(x, num_groups)[1])


def _metric(covariance: Tensor) -> Tensor:
    """(G, C / G, C / G) -> scalar."""
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    trace = diagonal.mean()
    return covariance.square().sum() / diagonal.numel() / (trace * trace + TINY)


def _covariance(x: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """(R, C) -> the centred x as (G, R, C / G), unnormalised covariance (G, C / G, C / G)."""
    centred = (x - x.mean(dim=0)).reshape(x.shape[0], num_groups, -1).transpose(0, 1)
    return centred, centred.transpose(1, 2) @ centred


def _whitening_gradient(centred: Tensor, covariance: Tensor) -> Tensor:
    """The direction of the gradient of whitening_metric, from what _covariance returns, whose covariance it changes.

    With centred x, S = sum(cov^2) / C and m = trace / C, the metric is S / m^2; dS/dx = 4 x cov / C, dm/dx = 2 x / C,
    hence d metric/dx = 4 x (cov - (S / m) I) / (C m^2).

    Returns:
      (R, C).
    """
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    mean_eigenvalue = diagonal.mean()
    diagonal.sub_(covariance.square().sum() / diagonal.numel() / (mean_eigenvalue + TINY))
    gradient = centred @ covariance.div_(mean_eigenvalue**2 + TINY)
    return gradient.transpose(0, 1).flatten(1)


def penalise_large(x: Tensor, limit: float, penalty: float) -> Tensor:
    """The identity; where |x| > limit, the backward pass adds penalty * sign(x) to the gradient."""
    y: Tensor = apply_function(_PenaltyFunction, x, limit, penalty)
    return y


class _PenaltyFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float, penalty: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.arguments = limit, penalty
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        limit, penalty = ctx.arguments
        if on_cpu(x) and float(x.detach().abs().amax()) <= limit:
            return grad, None, None
        return grad + penalty * x.sign() * (x.abs() > limit), None, None
