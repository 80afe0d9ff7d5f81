"""Norm, activations and dropout of the Zipformer (Yao et al., 2023, arXiv 2310.11230, sections 3.3 and 3.4).

Legend: N batch, T frames, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml2021.asr.model.layers.schedule import FloatLike, ScheduledModule, chance

SWOOSH_L = (4.0, 0.035)  # offset and constant of log(1 + exp(x - offset)) - 0.08 x - constant
SWOOSH_R = (1.0, 0.313261687)


def scaled_linear(in_channels: int, out_channels: int, initial_scale: float, bias: bool = True) -> nn.Linear:
    """A linear layer whose output is small at first."""
    layer = nn.Linear(in_channels, out_channels, bias=bias)
    with torch.no_grad():
        layer.weight.mul_(initial_scale)
        if bias:
            layer.bias.uniform_(-0.1 * initial_scale, 0.1 * initial_scale)
    return layer


class BiasNorm(nn.Module):
    """Scales each frame: y = x exp(log_scale) / rms(x - bias); a large constant channel cannot defeat it."""

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
        return _BiasNormFunction.apply(x, self.bias, log_scale)


class _BiasNormFunction(torch.autograd.Function):
    """With v = mean((x - b)^2) and s = exp(log_scale) v^-1/2: ds/dx = -s (x - b) / (C v)."""

    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor, log_scale: Tensor) -> Tensor:  # type: ignore[override]
        x = x.float()
        rms = torch.linalg.vector_norm(x - bias, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        scale = log_scale.exp() / rms
        ctx.save_for_backward(x, bias, rms, scale)
        return x * scale

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        x, bias, rms, scale = ctx.saved_tensors
        grad = grad.float()
        log_scale_grads = (grad * x).sum(dim=-1, keepdim=True) * scale  # (..., 1)
        pull = (x - bias).mul_(log_scale_grads / (x.shape[-1] * rms * rms))
        bias_grad = pull.flatten(0, -2).sum(dim=0)
        return torch.addcmul(pull.neg_(), grad, scale), bias_grad, log_scale_grads.sum()


def limit_parameter(x: Tensor, low: float, high: float, probability: float = 0.6) -> Tensor:
    """x itself; some of the time, gradients that would drive elements further outside low..high are turned round."""
    return _LimitFunction.apply(x, low, high) if chance(probability) else x


class _LimitFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        ctx.limits = low, high
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        low, high = ctx.limits
        wrong = ((grad > 0) & (x < low)) | ((grad < 0) & (x > high))
        return torch.where(wrong, -grad, grad), None, None


def swoosh(x: Tensor, kind: tuple[float, float]) -> Tensor:
    """SwooshL or SwooshR of any shape."""
    offset, constant = kind
    if not (torch.is_grad_enabled() and x.requires_grad):
        return nn.functional.softplus(x - offset).sub_(x, alpha=0.08).sub_(constant)  # three passes over the memory
    return _SwooshFunction.apply(x, offset, constant)


class _SwooshFunction(torch.autograd.Function):
    """Keeps the derivative, sigmoid(x - offset) - 0.08, and nothing else."""

    @staticmethod
    def forward(ctx, x: Tensor, offset: float, constant: float) -> Tensor:  # type: ignore[override]
        shifted = x - offset
        y = nn.functional.softplus(shifted).add_(shifted, alpha=-0.08).sub_(0.08 * offset + constant)
        ctx.save_for_backward(shifted.sigmoid_().sub_(0.08))
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return ctx.saved_tensors[0].mul_(grad), None, None  # in its place: a second backward is refused


class Swoosh(nn.Module):
    """SwooshL or SwooshR as a module."""

    def __init__(self, kind: tuple[float, float]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return swoosh(x, self.kind)


class SwooshLinear(ScheduledModule):
    """Activation, dropout shared by all frames of an utterance, linear layer."""

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
    """Drop channels of an utterance, the same in all its frames: (N, T, C) -> (N, T, C)."""
    if probability == 0.0:
        return x
    mask = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) > probability
    return x * (mask.to(x.dtype) / (1.0 - probability))


def drop_utterances(x: Tensor, probability: float) -> Tensor:
    """Set all of some utterances to zero: (N, ...) -> (N, ...)."""
    if probability == 0.0:
        return x
    mask = torch.rand(x.shape[0], *[1] * (x.dim() - 1), device=x.device) > probability
    return x * mask.to(x.dtype)


class ScaleGrad(nn.Module):
    """The identity; gradients are multiplied by a constant on the way back."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return _ScaleGradFunction.apply(x, self.scale) if self.training else x


class _ScaleGradFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: float) -> Tensor:  # type: ignore[override]
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return grad * ctx.scale, None
