"""Norm, activations and dropout of the Zipformer (Yao et al., 2023, arXiv 2310.11230, sections 3.3 and 3.4).

Legend: N batch, T frames, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.autograd import apply_function
from ml2021.asr.model.layers.fused import fused
from ml2021.asr.model.layers.schedule import FloatLike, ScheduledModule, chance
from ml2021.asr.model.layers.swoosh_kernel import swoosh_alone, swoosh_and_derivative

SWOOSH_L = (4.0, 0.035)  # offset and constant of log(1 + exp(x - offset)) - 0.08 x - constant
SWOOSH_R = (1.0, 0.313261687)


def scaled_linear(in_channels: int, out_channels: int, initial_scale: float, bias: bool = True) -> nn.Linear:
    """A linear layer whose initial weights and bias are multiplied by initial_scale."""
    layer = nn.Linear(in_channels, out_channels, bias=bias)
    with torch.no_grad():
        layer.weight.mul_(initial_scale)
        if bias:
            layer.bias.uniform_(-0.1 * initial_scale, 0.1 * initial_scale)
    return layer


class BiasNorm(nn.Module):
    """Scales each frame: y = x exp(log_scale) / rms(x - bias). The bias stops a large constant channel dominating."""

    log_scale_limits = (-1.5, 1.5)

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(1e-4 * torch.randn(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        if not torch.is_grad_enabled():
            return x * ((x - self.bias).square().mean(dim=-1, keepdim=True).rsqrt() * self.log_scale.exp())
        log_scale = limit_parameter(self.log_scale, *self.log_scale_limits) if self.training else self.log_scale
        y: Tensor = apply_function(_BiasNormFunction, x, self.bias, log_scale)
        return y


class _BiasNormFunction(torch.autograd.Function):
    """With v = mean((x - b)^2) and s = exp(log_scale) v^-1/2: ds/dx = -s (x - b) / (C v)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, log_scale: Tensor) -> Tensor:
        x = x.float()
        y, rms, scale = _bias_norm(x, bias, log_scale)
        ctx.save_for_backward(x, bias, rms, scale)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _bias_norm_gradients(grad.float(), *ctx.saved_tensors)


@fused
def _bias_norm(x: Tensor, bias: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The result, and what the gradients need: rms and scale (..., 1)."""
    rms: Tensor = torch.linalg.vector_norm(x - bias, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
    scale = log_scale.exp() / rms
    return x * scale, rms, scale


@fused
def _bias_norm_gradients(
    grad: Tensor, x: Tensor, bias: Tensor, rms: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Those of x, bias and log_scale."""
    log_scale_grads = (grad * x).sum(dim=-1, keepdim=True) * scale  # (..., 1)
    pull = (x - bias).mul_(log_scale_grads / (x.shape[-1] * rms * rms))
    bias_grad = pull.flatten(0, -2).sum(dim=0)
    return torch.addcmul(pull.neg_(), grad, scale), bias_grad, log_scale_grads.sum()


def limit_parameter(x: Tensor, low: float, high: float, probability: float = 0.6) -> Tensor:
    """The identity; with this probability, negates gradients that would push elements further outside low..high."""
    if not chance(probability):
        return x
    y: Tensor = apply_function(_LimitFunction, x, low, high)
    return y


class _LimitFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = low, high
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.limits
        wrong = ((grad > 0) & (x < low)) | ((grad < 0) & (x > high))
        return torch.where(wrong, -grad, grad), None, None


def swoosh(x: Tensor, kind: tuple[float, float]) -> Tensor:
    """SwooshL or SwooshR, elementwise."""
    offset, constant = kind
    if torch.is_grad_enabled() and x.requires_grad:
        y: Tensor = apply_function(_SwooshFunction, x, offset, constant)
        return y
    if _has_kernel(x):
        return swoosh_alone(x, offset, constant)
    return nn.functional.softplus(x - offset).sub_(x, alpha=0.08).sub_(constant)


class _SwooshFunction(torch.autograd.Function):
    """Saves only the derivative, sigmoid(x - offset) - 0.08, for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, offset: float, constant: float) -> Tensor:
        compute = swoosh_and_derivative if _has_kernel(x) else _swoosh_and_derivative
        y, derivative = compute(x, offset, constant)
        ctx.save_for_backward(derivative)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (derivative,) = ctx.saved_tensors
        return derivative.mul_(grad), None, None  # in place, so a second backward raises an error


def _has_kernel(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch._C._is_tracing()


@fused
def _swoosh_and_derivative(x: Tensor, offset: float, constant: float) -> tuple[Tensor, Tensor]:
    """Both in the shape of x."""
    shifted = x - offset
    y = nn.functional.softplus(shifted).add_(shifted, alpha=-0.08).sub_(0.08 * offset + constant)
    return y, shifted.sigmoid_().sub_(0.08)


class Swoosh(nn.Module):
    """SwooshL or SwooshR as a module."""

    def __init__(self, kind: tuple[float, float]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return swoosh(x, self.kind)


class SwooshLinear(ScheduledModule):
    """Activation, dropout that is the same in all frames of an utterance, linear layer."""

    def __init__(
        self, in_channels: int, out_channels: int, kind: tuple[float, float], dropout: FloatLike, initial_scale: float
    ) -> None:
        super().__init__()
        layer = scaled_linear(in_channels, out_channels, initial_scale)
        self.weight, self.bias = layer.weight, layer.bias
        self.kind, self.dropout = kind, dropout

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C_in) -> (N, T, C_out)."""
        x = shared_dropout(swoosh(x, self.kind), self.value(self.dropout) if self.training else 0.0)
        return nn.functional.linear(x, self.weight, self.bias)


def shared_dropout(x: Tensor, probability: float) -> Tensor:
    """Dropout of whole channels: the same ones in all frames of an utterance. (N, T, C) -> (N, T, C)."""
    if probability == 0.0:
        return x
    mask = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) > probability
    return x * (mask.to(x.dtype) / (1.0 - probability))


def drop_utterances(x: Tensor, probability: float) -> Tensor:
    """Set randomly chosen utterances to zero: (N, ...) -> (N, ...)."""
    if probability == 0.0:
        return x
    mask = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) > probability
    return x * mask.to(x.dtype)


class ScaleGrad(nn.Module):
    """The identity; multiplies gradients by a constant in training."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training:
            return x
        y: Tensor = apply_function(_ScaleGradFunction, x, self.scale)
        return y


class _ScaleGradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.scale, None
