"""Losses are computed in float32, also under autocast and by k2, and a GPU is not waited for.

Legend: B batch, T frames, S symbols, V vocabulary.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from ml2021.asr.loss.rnnt_loss import (
    RNNT_TYPES,
    do_rnnt_pruning,
    get_rnnt_prune_ranges,
    rnnt_functions,
    rnnt_loss_pruned,
    rnnt_loss_smoothed,
)
from ml2021.asr.loss.transducer import TransducerLosses, losses_of_encoder_out
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from tests.ml2021.pretend_cuda import PretendCuda

HALF = [torch.bfloat16, torch.float16]
BOUNDARY = torch.tensor([[0, 0, 6, 15], [0, 0, 3, 9]])
VOCAB = 50
ENCODER = ZipformerConfig(
    num_encoder_layers=(1,),
    downsampling_factor=(1,),
    encoder_dim=(16,),
    encoder_unmasked_dim=(16,),
    feedforward_dim=(32,),
    num_heads=(2,),
    query_head_dim=(8,),
    cnn_module_kernel=(7,),
)
TOKENS = [[5, 6, 7, 7], [8], []]


def problem(deviation: float) -> tuple[Tensor, Tensor, Tensor]:
    """am (B, T, V), lm (B, S + 1, V) and symbols (B, S) of two utterances."""
    g = torch.Generator().manual_seed(0)
    am, lm = (deviation * torch.randn(2, n, VOCAB, generator=g) for n in (15, 7))
    return am, lm, torch.randint(1, VOCAB, (2, 6), generator=g)


def losses_and_gradients(deviation: float, rnnt_type: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Forward and backward under autocast to dtype (float32: without)."""
    am, lm, symbols = problem(deviation)
    logits = deviation * torch.randn(2, 15, 3, VOCAB, generator=torch.Generator().manual_seed(1))
    inputs = {"am": am, "lm": lm, "logits": logits}
    for x in inputs.values():
        x.requires_grad_()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        simple, counts = rnnt_loss_smoothed(lm, am, symbols, 0, BOUNDARY, 0.25, 0.1, rnnt_type)
        ranges = get_rnnt_prune_ranges(*counts, BOUNDARY, 3)
        pruned = rnnt_loss_pruned(logits, symbols, ranges, 0, BOUNDARY, rnnt_type)
        (simple.sum() + pruned.sum()).backward()
    results = {"simple": simple, "pruned": pruned, "px": counts[0], "py": counts[1]}
    return {k: v.detach() for k, v in results.items()} | {f"grad of {k}": x.grad for k, x in inputs.items()}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("rnnt_type", RNNT_TYPES)
@pytest.mark.parametrize("deviation", [5.0, 10.0])
def test_losses_under_autocast_are_those_of_float32(deviation: float, rnnt_type: str, dtype: torch.dtype) -> None:
    expected = losses_and_gradients(deviation, rnnt_type, torch.float32)
    for name, value in losses_and_gradients(deviation, rnnt_type, dtype).items():
        assert value.dtype == torch.float32 and torch.isfinite(value).all(), name
        largest = float(expected[name].abs().max())
        torch.testing.assert_close(
            value, expected[name], rtol=1e-5, atol=1e-5 * largest, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("dtype", HALF)
def test_losses_of_half_precision_are_computed_in_float32(dtype: torch.dtype) -> None:
    """Only the gradient is rounded to the type of the logits."""
    am, lm, symbols = (x.to(dtype) if x.is_floating_point() else x for x in problem(5.0))
    simple, counts = rnnt_loss_smoothed(lm, am, symbols, 0, BOUNDARY, 0.25, 0.1)
    expected, _ = rnnt_loss_smoothed(lm.float(), am.float(), symbols, 0, BOUNDARY, 0.25, 0.1)
    torch.testing.assert_close(simple, expected, rtol=1e-6, atol=0)
    ranges = get_rnnt_prune_ranges(*counts, BOUNDARY, 3)
    half = (am[:, :, None] + do_rnnt_pruning(am, lm, ranges)[1]).detach().requires_grad_()
    single = half.detach().float().requires_grad_()
    losses = [rnnt_loss_pruned(x, symbols, ranges, 0, BOUNDARY) for x in (half, single)]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=0)
    for loss in losses:
        loss.sum().backward()
    torch.testing.assert_close(half.grad, single.grad.to(dtype), rtol=0, atol=1e-6)


def model_and_encoder_out() -> tuple[AsrModel, Tensor, Tensor]:
    """A model whose logits have a deviation of about 10, and its input."""
    torch.manual_seed(0)
    model = AsrModel(TransducerConfig(encoder=ENCODER, decoder_dim=16, joiner_dim=16), VOCAB).eval()
    with torch.no_grad():
        for layer in (model.simple_am_proj, model.simple_lm_proj, model.joiner.output_linear, model.ctc_output[1]):
            layer.weight.normal_(0.0, 2.5)
    return model, torch.randn(3, 12, 16, requires_grad=True), torch.tensor([12, 9, 7])


def all_gradients(model: AsrModel, x: Tensor, losses: TransducerLosses) -> dict[str, Tensor]:
    """The gradients of x and of all parameters after the encoder."""
    (0.5 * losses.simple + losses.pruned + 0.2 * losses.ctc).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return gradients | {"encoder_out": x.grad}


@pytest.mark.parametrize("dtype", HALF)
def test_everything_after_the_encoder_is_float32(dtype: torch.dtype) -> None:
    model, x, lens = model_and_encoder_out()
    expected = losses_of_encoder_out(model, x, lens, TOKENS)
    expected_gradients = all_gradients(model, x, expected)
    x.grad = None
    with torch.autocast("cpu", dtype):
        losses = losses_of_encoder_out(model, x, lens, TOKENS)
    for name in ("simple", "pruned", "ctc"):
        torch.testing.assert_close(getattr(losses, name), getattr(expected, name), rtol=1e-5, atol=0)
    gradients = all_gradients(model, x, losses)
    assert gradients.keys() == expected_gradients.keys() and "simple_am_proj.weight" in gradients
    for name, value in gradients.items():
        torch.testing.assert_close(value, expected_gradients[name], rtol=1e-5, atol=1e-5 * float(value.abs().max()))


@pytest.mark.parametrize("dtype", HALF)
def test_log_probs_of_the_ctc_head_are_float32(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The aligner trains and aligns with them."""
    model, x, lens = model_and_encoder_out()
    monkeypatch.setattr(model, "forward_encoder", lambda features, feature_lens: (x, feature_lens))
    expected, _ = model.ctc_log_probs(x, lens)
    with torch.autocast("cpu", dtype):
        log_probs, _ = model.ctc_log_probs(x, lens)
    torch.testing.assert_close(log_probs, expected, rtol=1e-6, atol=1e-6)


def test_k2_gets_float32_without_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for k2 with our functions records what it is called with."""
    called: list[tuple[torch.dtype, bool]] = []

    def smoothed(lm: Tensor, am: Tensor, symbols: Tensor, blank: int, *args: Any, **_: Any) -> Any:
        called.append((torch.promote_types(am.dtype, lm.dtype), torch.is_autocast_enabled("cpu")))
        lm_scale, am_scale, boundary, rnnt_type, penalty = args
        return rnnt_loss_smoothed(lm, am, symbols, blank, boundary, lm_scale, am_scale, rnnt_type, penalty)

    def pruned(logits: Tensor, *args: Any, **_: Any) -> Tensor:
        called.append((logits.dtype, torch.is_autocast_enabled("cpu")))
        return rnnt_loss_pruned(logits, *args)

    k2 = ModuleType("k2")
    k2.rnnt_loss_smoothed, k2.rnnt_loss_pruned = smoothed, pruned  # type: ignore[attr-defined]
    k2.get_rnnt_prune_ranges, k2.do_rnnt_pruning = get_rnnt_prune_ranges, do_rnnt_pruning  # type: ignore[attr-defined]
    k2.__spec__ = sys.__spec__
    monkeypatch.setitem(sys.modules, "k2", k2)
    rnnt_functions.cache_clear()
    try:
        functions = rnnt_functions("k2")
        am, lm, symbols = (x.bfloat16() if x.is_floating_point() else x for x in problem(3.0))
        with torch.autocast("cpu", torch.bfloat16):
            _, counts = functions.smoothed(lm, am, symbols, 0, BOUNDARY)
            ranges = functions.prune_ranges(*counts, BOUNDARY, 3)
            functions.pruned(sum(functions.prune(am, lm, ranges)), symbols, ranges, 0, BOUNDARY)
    finally:
        rnnt_functions.cache_clear()
    assert called == [(torch.float32, False)] * 2


def test_losses_do_not_wait_for_a_gpu() -> None:
    """On a pretend GPU they are those of the CPU, and neither values nor blocking copies are waited for."""
    pytest.importorskip("triton")  # without it, torch's CTC loss reads the lengths
    model, x, lens = model_and_encoder_out()
    expected = losses_of_encoder_out(model, x, lens, TOKENS)
    with PretendCuda() as gpu:
        model.to("cuda")
        x, lens = x.detach().to("cuda"), lens.to("cuda")
        gpu.clear()
        losses = losses_of_encoder_out(model, x, lens, TOKENS)
        (losses.simple + losses.pruned + losses.ctc).backward()
        assert gpu.syncs == [] and gpu.uploads == []
        for name in ("simple", "pruned", "ctc", "num_left_out"):
            torch.testing.assert_close(getattr(losses, name).cpu(), getattr(expected, name))


def test_losses_of_fake_tensors_on_a_gpu() -> None:
    """torch's own rules for devices; fake tensors have no values, so nothing may depend on one."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    pytest.importorskip("triton")  # without it, torch's CTC loss asks cuDNN, which asks for a driver
    with FakeTensorMode():
        with torch.device("cuda"):
            model = AsrModel(TransducerConfig(encoder=ENCODER, decoder_dim=16, joiner_dim=16), VOCAB).eval()
            x, lens = torch.empty(3, 12, 16), torch.empty(3, dtype=torch.int64)
        losses = losses_of_encoder_out(model, x, lens, TOKENS)
    for value in (losses.simple, losses.pruned, losses.ctc, losses.num_left_out):
        assert value.device.type == "cuda" and value.shape == ()
