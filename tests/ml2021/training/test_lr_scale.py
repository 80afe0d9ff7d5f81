"""Multipliers of the learning rate by module, with both optimisers."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from lhotse_prep.workflow.errors import ConfigError
from ml2021.training.config import TrainConfig
from ml2021.training.optimizers import make_optimizer, set_learning_rate
from tests.ml2021.training.test_trainer import CONFIG, Killed, ToyTask, new_trainer, pretrained

OPTIMIZERS = ("adamw", "scaled_adam")


class TwoParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        self.encoder_proj = nn.Linear(3, 2)  # its name begins as that of the other
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def config(optimizer: str, **scales: float) -> TrainConfig:
    """Names of modules with `_` for a point after `encoder`."""
    names = tuple(name.replace("encoder_0", "encoder.0") for name in scales)
    return TrainConfig(optimizer=optimizer, lr_scale_modules=names, lr_scales=tuple(scales.values()))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, rate: float) -> None:
    generator = torch.Generator().manual_seed(3)
    grads = {name: torch.randn(12, *p.shape, generator=generator) for name, p in TwoParts().named_parameters()}
    for t in range(12):
        for name, p in model.named_parameters():
            p.grad = grads[name][t].clone() if p.requires_grad else None
        set_learning_rate(optimizer, rate)
        optimizer.step()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_module_moves_as_if_trained_alone_at_its_own_rate(optimizer: str) -> None:
    model = TwoParts()
    steps(model, make_optimizer(model, config(optimizer, encoder=0.1, encoder_0=0.01)), 0.05)
    for part, rate in (("encoder.0", 0.0005), ("encoder.2", 0.005), ("encoder_proj", 0.05)):
        alone = TwoParts()
        for name, p in alone.named_parameters():
            p.requires_grad_(name.startswith(f"{part}."))
        steps(alone, make_optimizer(alone, config(optimizer)), rate)
        module, expected, start = (m.get_submodule(part).weight for m in (model, alone, TwoParts()))
        torch.testing.assert_close(module, expected, atol=1e-7, rtol=1e-6)
        assert not torch.equal(module, start)
    assert torch.equal(model.frozen.weight, TwoParts().frozen.weight)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_without_multipliers_groups_are_as_they_were(optimizer: str) -> None:
    groups = make_optimizer(TwoParts(), config(optimizer)).param_groups
    sizes = [[p.numel() for p in group["params"]] for group in groups]
    assert sizes == ([[12, 12, 6], [4, 3, 2]] if optimizer == "adamw" else [[12, 4, 12, 3, 6, 2]])
    assert not any("lr_scale" in group for group in groups)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_killed_training_goes_on_with_the_same_rates(tmp_path: Path, optimizer: str) -> None:
    scaled = replace(CONFIG, optimizer=optimizer, lr_scale_modules=("0",), lr_scales=(0.1,))
    whole = ToyTask()
    new_trainer(tmp_path / "whole", whole, scaled).run()
    with pytest.raises(Killed):
        new_trainer(tmp_path / "killed", ToyTask(kill_at=17), scaled).run()
    new_trainer(tmp_path / "killed", ToyTask(), scaled).run()
    weights = [pretrained(tmp_path / name) for name in ("whole", "killed", "whole")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    plain = ToyTask()
    new_trainer(tmp_path / "plain", plain, replace(CONFIG, optimizer=optimizer)).run()
    assert whole.rates == pytest.approx([0.1 * rate for rate in plain.rates])  # of the first group, that of module 0


def test_modules_that_are_not_there_or_not_trained_are_refused() -> None:
    for names in ("enc", "encoder.1", "frozen"):
        bad = replace(config("adamw"), lr_scale_modules=("encoder", names), lr_scales=(0.5, 0.1))
        with pytest.raises(
            ConfigError, match=rf"no module '{names}' with weights to train; it has encoder, encoder_proj"
        ):
            make_optimizer(copy.deepcopy(TwoParts()), bad)
    with pytest.raises(ConfigError, match="lr_scales must have a number for each of the 1 modules"):
        TrainConfig(lr_scale_modules=("encoder",))
    with pytest.raises(ConfigError, match="lr_scales must be > 0"):
        config("adamw", encoder=0.0)
    with pytest.raises(ConfigError, match="names a module twice"):
        TrainConfig(lr_scale_modules=("encoder", "encoder"), lr_scales=(0.1, 0.2))
