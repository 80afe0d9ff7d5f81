"""Bottleneck adapters (Houlsby et al., 2019, arXiv 1902.00751): small modules in the layers of a trained encoder.

They have the names and places of icefall's zipformer_adapter. Their last layer starts at zero, so that the first
outputs are those of the model without adapters.

Legend: N batch, T frames, D model dimension.
"""

from __future__ import annotations

from torch import Tensor, nn

from ml2021.asr.model.layers.activations import SWOOSH_L, swoosh
from ml2021.asr.model.zipformer.layer import ADAPTERS, ZipformerLayer


class Adapter(nn.Module):
    """x + linear(SwooshL(linear(x))), through a bottleneck."""

    def __init__(self, dim: int, bottleneck_dim: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(dim, bottleneck_dim)
        self.out_proj = nn.Linear(bottleneck_dim, dim)
        nn.init.zeros_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, D) -> (N, T, D)."""
        y: Tensor = x + self.out_proj(swoosh(self.in_proj(x), SWOOSH_L))
        return y


def add_adapters(encoder: nn.Module, bottleneck_dim: int) -> None:
    """Give each layer of a Zipformer its adapters. The outputs of the encoder do not change."""
    for layer in encoder.modules():
        if isinstance(layer, ZipformerLayer):
            for name in ADAPTERS:
                setattr(layer, name, Adapter(layer.norm.bias.numel(), bottleneck_dim))


def is_of_adapter(name: str) -> bool:
    """Whether a module or weight is, or is in, an adapter, by its name."""
    return not set(ADAPTERS).isdisjoint(name.split("."))
