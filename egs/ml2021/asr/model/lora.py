"""LoRA (Hu et al., 2021, arXiv 2106.09685): y = x W^T + b + alpha / rank * x A^T B^T, where only A and B are trained.

B starts at zero, so that the first outputs are those of the model without updates. The parameters have the names of
icefall's zipformer_lora: `lora_A` and `lora_B` beside `weight`, and in `l` for a layer with an activation.

Legend: R rank, C_in and C_out channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.adapter import is_of_adapter
from ml2021.asr.model.config import LoraConfig
from ml2021.asr.model.layers.activations import SwooshLinear, shared_dropout, swoosh
from ml2021.asr.model.layers.schedule import ScheduledModule

_NAMES = ("lora_A", "lora_B")
_WITH_ACTIVATION = "l"  # icefall's name of the linear layer within such a layer
_USED_DIRECTLY = "encoder_embed."  # modules that use the weights of their layers themselves


class LowRank(nn.Module):
    """The update of a linear layer."""

    def __init__(self, in_channels: int, out_channels: int, config: LoraConfig) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(config.rank, in_channels))
        self.lora_B = nn.Parameter(torch.zeros(out_channels, config.rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as torch initialises a linear layer
        self.scale, self.lora_dropout = config.alpha / config.rank, config.dropout

    def update(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        x = nn.functional.dropout(x, self.lora_dropout, self.training)
        return nn.functional.linear(nn.functional.linear(x, self.lora_A), self.lora_B) * self.scale


class LoraLinear(LowRank):
    """A linear layer with an update."""

    def __init__(self, layer: nn.Linear, config: LoraConfig) -> None:
        super().__init__(layer.in_features, layer.out_features, config)
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., C_in) -> (..., C_out)."""
        return nn.functional.linear(x, self.weight, self.bias) + self.update(x)


class LoraSwooshLinear(ScheduledModule):
    """A SwooshLinear with an update of its linear layer."""

    def __init__(self, layer: SwooshLinear, config: LoraConfig) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.kind, self.dropout = layer.kind, layer.dropout
        self.l = LowRank(layer.weight.shape[1], layer.weight.shape[0], config)  # the name is icefall's

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, C_in) -> (N, T, C_out)."""
        x = shared_dropout(swoosh(x, self.kind), self.value(self.dropout) if self.training else 0.0)
        return nn.functional.linear(x, self.weight, self.bias) + self.l.update(x)


def add_lora(model: nn.Module, config: LoraConfig) -> None:
    """Give an update to each layer of a model that config.modules names. The outputs of the model do not change.

    Raises:
      ConfigError: a name is that of no linear layer.
    """
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Linear, SwooshLinear))
        and not name.startswith(_USED_DIRECTLY)
        and not is_of_adapter(name)
    }
    chosen: dict[str, nn.Module] = {}
    for end in config.modules:
        fitting = {name: layer for name, layer in layers.items() if f".{name}".endswith(f".{end}")}
        if not fitting:
            ends = dict.fromkeys(".".join(name.split(".")[-2:]) for name in layers)
            raise ConfigError(f"lora.modules: the model has no linear layer {end!r}; it has {', '.join(ends)}")
        chosen |= fitting
    for name, layer in chosen.items():
        parent, _, child = name.rpartition(".")
        new = LoraSwooshLinear(layer, config) if isinstance(layer, SwooshLinear) else _with_update(layer, config)
        setattr(model.get_submodule(parent), child, new)


def _with_update(layer: nn.Module, config: LoraConfig) -> LoraLinear:
    assert isinstance(layer, nn.Linear)
    return LoraLinear(layer, config)


def is_update(name: str) -> bool:
    """Whether a weight belongs to an update, by its name."""
    return name.endswith(tuple(f".{x}" for x in _NAMES))


def merge_lora(weights: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The weights of a model with updates as those of a model without: W + alpha / rank * B A, for the same outputs.

    Args:
      weights: a state_dict; it may have no updates.
      alpha: see LoraConfig.
    Returns:
      A state_dict with the names and types of the model without updates.
    """
    merged = {name: weight for name, weight in weights.items() if not is_update(name)}
    for name, a in weights.items():
        layer, _, kind = name.rpartition(".")
        if kind == _NAMES[0]:
            b, target = weights[f"{layer}.{_NAMES[1]}"], f"{layer.removesuffix('.' + _WITH_ACTIVATION)}.weight"
            update = b.double() @ a.double() * (alpha / len(a))
            merged[target] = (weights[target].double() + update).to(weights[target].dtype)
    return merged
