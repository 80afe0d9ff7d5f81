"""Compiled functions give what the others give; without a compiler, one line says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layers import fused
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import AsrModel
from tests.ml2021.asr.zipformers import TWO_STACKS

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def not_compiled() -> Iterator[None]:
    yield
    fused.use_compiled(False, CPU)


def losses_and_gradients(model: AsrModel, num_frames: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    torch.manual_seed(num_frames)
    set_batch_count(model, 10.0 * num_frames)
    features = 4 * torch.randn(2, num_frames, 80) - 8
    losses = transducer_losses(model, features, torch.tensor([num_frames, num_frames - 20]), [[3, 4, 5], [6]])
    model.zero_grad(set_to_none=True)
    (losses.simple + losses.pruned + losses.ctc).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return [float(x.detach()) for x in (losses.simple, losses.pruned, losses.ctc)], gradients


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_losses_and_gradients_of_a_compiled_model_are_those_of_the_other() -> None:
    torch.manual_seed(0)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16), 11).train()
    names = list(model.state_dict())
    results = []
    for compiled in (False, True):
        fused.use_compiled(compiled, CPU)
        results.append([losses_and_gradients(model, n) for n in (90, 71, 120)])
    assert fused._compiled and {f.__name__ for f in fused._compiled} >= {"_bias_norm", "_bias_norm_gradients"}
    for (losses, gradients), (expected, expected_gradients) in zip(results[1], results[0], strict=True):
        assert losses == pytest.approx(expected, rel=1e-4)
        assert gradients.keys() == expected_gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-3, atol=1e-3)
    assert list(model.state_dict()) == names


def test_without_a_compiler_it_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("\nNo working C++ compiler found in list of compilers\nmore lines")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(ConfigError, match=r"^compile: true needs.*\(No working C\+\+ compiler.*compile: false$"):
        fused.use_compiled(True, CPU)
    assert fused._compiled is None
    fused.use_compiled(False, CPU)
