"""The CTC loss by kernels, run on a CPU by Triton's interpreter, against torch's.

Legend: N batch, T frames, S tokens, V vocabulary.
"""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor

from ml2021.asr.loss import ctc
from ml2021.asr.loss.ctc import ctc_losses
from tests.ml2021.pretend_cuda import PretendCuda

VOCAB = 9
SYMBOLS = [[3, 4, 4, 5], [6], [], [7, 7], [1, 2, 3], [8], [5, 5, 5]]  # equal neighbours, none, too many
FRAMES = [9, 3, 4, 2, 3, 1, 5]


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (N, T, V), symbols (N, S), padded with a token, and the two lengths."""
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(len(FRAMES), max(FRAMES), VOCAB, generator=g)
    symbols = torch.tensor([ids + [5] * (4 - len(ids)) for ids in SYMBOLS])
    return logits, symbols, torch.tensor(FRAMES), torch.tensor([len(ids) for ids in SYMBOLS])


def losses_and_gradient(logits: Tensor, *arguments: Tensor) -> tuple[Tensor, Tensor]:
    """Losses (N,), and the gradient of their weighted sum by the logits."""
    logits = logits.clone().requires_grad_()
    losses = ctc_losses(logits.log_softmax(dim=2), *arguments)
    (losses * torch.linspace(0.5, 2, len(losses))).sum().backward()
    return losses.detach(), logits.grad


@pytest.fixture
def by_kernels(interpreted: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets ctc_losses take the kernels on a CPU."""
    monkeypatch.setattr(ctc, "ctc_elsewhere", interpreted["ctc_triton"].ctc_triton)
    monkeypatch.setattr(ctc, "takes_kernels", lambda x: True)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_kernels_give_the_losses_and_gradients_of_torch(request: pytest.FixtureRequest) -> None:
    expected = losses_and_gradient(*problem())
    request.getfixturevalue("by_kernels")
    for name, a, b in zip(("losses", "gradient"), losses_and_gradient(*problem()), expected, strict=True):
        torch.testing.assert_close(a, b, atol=2e-6, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    assert expected[0][3] == 0 and not expected[1][3].any()  # two equal tokens in two frames


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_nan_spreads_only_within_its_utterance(by_kernels: None) -> None:
    logits, *arguments = problem()
    logits[1, 1] = float("nan")
    losses, gradient = losses_and_gradient(logits, *arguments)
    assert torch.isnan(losses).tolist() == [i == 1 for i in range(len(FRAMES))]
    assert torch.isfinite(gradient[[0, *range(2, len(FRAMES))]]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("seed", range(3))
def test_random_problems(seed: int, request: pytest.FixtureRequest) -> None:
    """Against torch in float64: its float32 is off in the fifth digit."""
    g = torch.Generator().manual_seed(seed)
    arguments = (
        torch.randint(1, 6, (3, 20), generator=g),
        torch.tensor([50, 40, 31]),
        torch.randint(0, 21, (3,), generator=g),
    )
    logits = 5 * torch.randn(3, 50, 6, generator=g)
    expected = losses_and_gradient(logits.double(), *arguments)
    request.getfixturevalue("by_kernels")
    for a, b in zip(losses_and_gradient(logits, *arguments), expected, strict=True):
        torch.testing.assert_close(a, b.float(), atol=1e-5, rtol=1e-5)


def test_a_gpu_is_not_waited_for() -> None:
    """torch's loss reads the lengths; on a pretend GPU the results are those of the CPU."""
    pytest.importorskip("triton")
    expected_losses, expected = losses_and_gradient(*problem())
    with PretendCuda() as gpu:
        logits, *arguments = (x.to("cuda") for x in problem())
        logits.requires_grad_()
        weights = torch.linspace(0.5, 2, len(FRAMES)).to("cuda")
        gpu.clear()
        losses = ctc_losses(logits.log_softmax(dim=2), *arguments)
        (losses * weights).sum().backward()
        assert gpu.syncs == [] and gpu.uploads == []
        torch.testing.assert_close(losses.cpu(), expected_losses)
        torch.testing.assert_close(logits.grad.cpu(), expected)


def test_fake_tensors_on_a_gpu_pass() -> None:
    """torch's loss cannot: it asks cuDNN, which asks for a driver."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    pytest.importorskip("triton")
    with FakeTensorMode():
        logits = torch.randn(2, 6, VOCAB, device="cuda")
        symbols, lens = torch.ones(2, 3, dtype=torch.int64, device="cuda"), torch.tensor([6, 5], device="cuda")
        losses = ctc_losses(logits.log_softmax(dim=2), symbols, lens, lens - 3)
    assert losses.shape == (2,) and losses.device.type == "cuda"
