"""The optimisers of a training: AdamW and ScaledAdam, and the gradient norm that the loop clips to.

B: parameters of one shape, stacked.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import ConfigError
from ml2021.training.config import TrainConfig

FIRST_THRESHOLDS = (10, 20, 40)  # steps that set the clipping threshold before a whole period has passed
_LR_SCALE = "lr_scale"  # key of a group's multiplier of the learning rate
MAX_SCALE_STEP = 0.1  # largest relative change of a tensor's size in one update


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """ScaledAdam, or AdamW with weight decay for matrices only, not for biases and norms.

    Parameters with one multiplier of the learning rate (config.lr_scales) are a group; ScaledAdam clips each group by
    itself. set_learning_rate knows the multipliers.

    Raises:
      ConfigError: the model has no weights to train in a module of config.lr_scale_modules.
    """
    groups: list[dict[str, Any]] = []
    for lr_scale, parameters in _by_lr_scale(model, config):
        options = {_LR_SCALE: lr_scale} if config.lr_scales else {}
        if config.optimizer == "scaled_adam":
            groups.append({"params": parameters, **options})
            continue
        matrices, others = [p for p in parameters if p.dim() > 1], [p for p in parameters if p.dim() <= 1]
        groups.append({"params": matrices, "weight_decay": config.weight_decay, **options})
        groups.append({"params": others, "weight_decay": 0.0, **options})
    if config.optimizer == "scaled_adam":
        return ScaledAdam(groups, lr=config.base_lr)
    return torch.optim.AdamW(groups, lr=config.base_lr, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Let the next step of an optimiser of make_optimizer have this learning rate, times the modules' multipliers."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(_LR_SCALE, 1.0)


def _by_lr_scale(model: nn.Module, config: TrainConfig) -> list[tuple[float, list[nn.Parameter]]]:
    """The parameters to train, by the multiplier of their learning rate."""
    scales = dict(zip(config.lr_scale_modules, config.lr_scales))
    names = sorted(scales, key=len, reverse=True)
    used: set[str] = set()
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            modules = [m for m in names if name == m or name.startswith(f"{m}.")]
            used.update(modules)
            groups.setdefault(scales[modules[0]] if modules else 1.0, []).append(parameter)
    for name in config.lr_scale_modules:
        if name not in used:
            children = dict.fromkeys(n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad)
            raise ConfigError(
                f"lr_scale_modules: the model has no module {name!r} with weights to train; it has "
                f"{', '.join(children)}, and parts of these"
            )
    return list(groups.items())


def max_grad_norm(config: TrainConfig) -> float:
    """The gradient norm that the training loop clips to: infinite for ScaledAdam, which clips by itself."""
    return math.inf if config.optimizer == "scaled_adam" else config.grad_clip


class ScaledAdam(torch.optim.Optimizer):
    """ScaledAdam (Yao et al., 2023, arXiv 2310.11230, section 3.6 and appendix A.1).

    This is Adam with steps relative to the size (root mean square) of a parameter tensor, and with learned sizes.

    Gradients are clipped to clipping_scale times the median of their recent norms; for the norm, each gradient is
    multiplied by its parameter's size. Parameters of one shape are stacked and updated together, and the first of them
    holds their state.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 0.03,
        clipping_scale: float = 2.0,
        betas: tuple[float, float] = (0.9, 0.98),
        scalar_lr_scale: float = 0.1,
        eps: float = 1e-8,
        param_min_rms: float = 1e-5,
        param_max_rms: float = 3.0,
        scalar_max: float = 10.0,
        size_update_period: int = 4,
        clipping_update_period: int = 100,
    ) -> None:
        """
        Args:
          clipping_scale: gradient norms are clipped at this times the median norm.
          scalar_lr_scale: the learning rate of sizes and of one-element parameters, relative to lr.
          param_min_rms, param_max_rms: limits of the sizes.
          scalar_max: one-element parameters stay within -scalar_max..scalar_max.
          size_update_period: steps between updates of the sizes.
          clipping_update_period: steps between updates of the clipping threshold.
        """
        defaults = {
            "lr": lr,
            "clipping_scale": clipping_scale,
            "betas": betas,
            "scalar_lr_scale": scalar_lr_scale,
            "eps": eps,
            "param_min_rms": param_min_rms,
            "param_max_rms": param_max_rms,
            "scalar_max": scalar_max,
            "size_update_period": size_update_period,
            "clipping_update_period": clipping_update_period,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters. A missing gradient counts as zero."""
        assert closure is None, "ScaledAdam takes no closure"
        for group in self.param_groups:
            stacks = [(same, *_stacked(same)) for same in _by_shape(group["params"])]
            for same, p, _ in stacks:
                if not self.state[same[0]]:
                    self.state[same[0]].update(_initial_state(p, group))
            scale = self._clipping_factor(group, stacks)
            for same, p, grad in stacks:
                state = self.state[same[0]]
                _update(p, grad.mul_(scale) if scale < 1.0 else grad, state, group)
                state["step"] += 1
                for parameter, value in zip(same, p):
                    parameter.copy_(value)

    def _clipping_factor(self, group: dict[str, Any], stacks: list[tuple[list[nn.Parameter], Tensor, Tensor]]) -> float:
        """The factor for all gradients, at most 1. The state of the first parameter keeps the recent norms."""
        first = self.state[stacks[0][0][0]]
        step = int(first["step"])
        if step == 0:
            first["norms"] = torch.zeros(group["clipping_update_period"])
            first["threshold"] = torch.tensor(float("inf"))
            return 1.0
        for name in ("norms", "threshold"):  # a state that was loaded is on the device of the parameters
            first[name] = first[name].cpu()
        norms = []
        for same, p, grad in stacks:
            norm = torch.linalg.vector_norm(grad.reshape(len(grad), -1), dim=1)  # (B,)
            is_scalar = p[0].numel() == 1
            norms.append(norm * (group["scalar_lr_scale"] if is_scalar else self.state[same[0]]["rms"].flatten()))
        norm = float(torch.linalg.vector_norm(torch.cat(norms)))
        period = group["clipping_update_period"]
        first["norms"][step % period] = norm
        if step % period == 0:
            first["threshold"].fill_(group["clipping_scale"] * _median(first["norms"]))
        elif step in FIRST_THRESHOLDS and step < period:  # norms change quickly at first: allow twice as much
            first["threshold"].fill_(2 * group["clipping_scale"] * _median(first["norms"][1 : step + 1]))
        return min(1.0, float(first["threshold"]) / (norm + 1e-20))


def _median(norms: Tensor) -> float:
    """The median as in icefall: of an even number of values the upper one (of 10 values, the fifth)."""
    return float(norms.sort().values[len(norms) // 4 * 2])


def _by_shape(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    groups = defaultdict(list)
    for p in parameters:
        groups[p.dtype, p.device, p.shape].append(p)
    return list(groups.values())


def _stacked(same: list[nn.Parameter]) -> tuple[Tensor, Tensor]:
    """Values and gradients of B parameters of one shape, (B, ...) each."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in same]
    return torch.stack([p.detach() for p in same]), torch.stack(grads)


def _initial_state(p: Tensor, group: dict[str, Any]) -> dict[str, Any]:
    state: dict[str, Any] = {"step": 0, "square": torch.zeros_like(p), "delta": torch.zeros_like(p)}
    if p[0].numel() > 1:
        rms = _rms(p)
        state |= {
            "rms": rms,  # (B, 1, ...)
            "scale_square": torch.zeros_like(rms),
            "scale_grads": rms.new_zeros(group["size_update_period"], *rms.shape),
        }
    return state


def _rms(p: Tensor) -> Tensor:
    """The root mean square of each stacked tensor: (B, ...) -> (B, 1, ...)."""
    return p.square().mean(dim=tuple(range(1, p.dim())), keepdim=True).sqrt()


def _update(p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Update p (B, ...) in place."""
    beta1, beta2 = group["betas"]
    is_scalar = p[0].numel() == 1
    lr = group["lr"] * (group["scalar_lr_scale"] if is_scalar else 1.0)
    square = state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    correction = 1 - beta2 ** (state["step"] + 1)
    if correction < 0.99:
        square = square / correction
    denominator = square.sqrt().add_(group["eps"])
    if is_scalar:
        delta = grad.div(denominator).mul_(-lr)
    else:
        # the sizes first: their update needs the size used in the previous steps
        scale_step = _scale_step(p, grad, state, group)
        delta = grad.div(denominator).mul_(-lr * state["rms"].clamp(min=group["param_min_rms"]))
        if scale_step is not None:
            delta.addcmul_(p, scale_step)
    p.add_(state["delta"].mul_(beta1).add_(delta, alpha=1 - beta1))
    if is_scalar:
        p.clamp_(-group["scalar_max"], group["scalar_max"])


def _scale_step(p: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor | None:
    """Every size_update_period steps, the relative growth of each of p, (B, 1, ...); also measures the sizes anew.

    The gradient of the log size is sum(p * grad); the update is Adam's, with the sum over the period.
    """
    period, beta2 = group["size_update_period"], group["betas"][1] ** group["size_update_period"]
    index = state["step"] % period
    state["scale_grads"][index] = (p * grad).sum(dim=tuple(range(1, p.dim())), keepdim=True)
    if index != period - 1:
        return None
    rms = state["rms"].copy_(_rms(p))
    square = state["scale_square"].mul_(beta2).add_(state["scale_grads"].square().mean(dim=0), alpha=1 - beta2)
    correction = 1 - beta2 ** ((state["step"] + 1) // period)
    size_lr = group["lr"] * group["scalar_lr_scale"]
    step = state["scale_grads"].sum(dim=0) / (square.sqrt() + group["eps"]) * (-size_lr * correction**0.5)
    step.masked_fill_(rms < group["param_min_rms"], 0.0)
    step.clamp_(-MAX_SCALE_STEP, MAX_SCALE_STEP)
    return torch.minimum(step, (group["param_max_rms"] - rms) / rms.clamp(min=1e-20))
