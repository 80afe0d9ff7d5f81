"""CR-CTC's consistency of two views against a sum over frames and tokens, and its gradient against the formula's.

Legend: N utterances, T frames, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ml2021.asr.loss.consistency import consistency_losses

VOCAB = 6


def random_views(seed: int) -> tuple[Tensor, Tensor]:
    """Logits of two views (2 N, T, V) in float64, and their lengths (2 N,)."""
    rng = np.random.default_rng(seed)
    num_utterances, num_frames = int(rng.integers(1, 5)), int(rng.integers(1, 9))
    lens = torch.from_numpy(rng.integers(1, num_frames + 1, num_utterances))
    logits = 3 * rng.normal(size=(2 * num_utterances, num_frames, VOCAB))
    return torch.from_numpy(logits), lens.repeat(2)


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    """KL(p || q) of two distributions, both given as log-probs (V,)."""
    return sum(math.exp(a) * (a - b) for a, b in zip(p.tolist(), q.tolist()))


@pytest.mark.parametrize("seed", range(10))
def test_each_view_is_compared_with_the_other_in_the_frames_of_the_utterance(seed: int) -> None:
    logits, lens = random_views(seed)
    log_probs = logits.log_softmax(dim=2).numpy()
    n = len(lens) // 2
    expected = [
        sum(divergence(log_probs[(i + n) % (2 * n), t], log_probs[i, t]) for t in range(int(lens[i])))
        for i in range(2 * n)
    ]
    losses = consistency_losses(torch.from_numpy(log_probs), lens)
    torch.testing.assert_close(losses, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_gradients_are_those_of_the_formula_with_the_other_view_held_fixed(seed: int) -> None:
    """By a logit z of a view with probabilities p, where the other view has q: dKL(q || p) / dz = p - q."""
    logits, lens = random_views(seed)
    logits.requires_grad_()
    consistency_losses(logits.log_softmax(dim=2), lens).sum().backward()
    probs = logits.detach().softmax(dim=2)
    n = len(lens) // 2
    expected = probs - torch.cat([probs[n:], probs[:n]])
    for row, length in zip(expected, lens.tolist(), strict=True):
        row[length:] = 0.0
    torch.testing.assert_close(logits.grad, expected)
    assert all(bool(logits.grad[view].any()) for view in (slice(0, n), slice(n, None)))


def test_padding_never_counts() -> None:
    logits = torch.randn(4, 5, VOCAB, generator=torch.Generator().manual_seed(0))
    lens = torch.tensor([3, 5, 3, 5])
    before = consistency_losses(logits.log_softmax(dim=2), lens)
    logits[2, 3:] += 50 * torch.arange(VOCAB)
    logits.requires_grad_()
    after = consistency_losses(logits.log_softmax(dim=2), lens)
    after.sum().backward()
    assert torch.equal(after, before) and bool(after.all())
    assert [bool(frame.any()) for frame in logits.grad[0]] == [True, True, True, False, False]


def test_views_that_agree_cost_nothing_and_have_no_gradient() -> None:
    logits, lens = random_views(1)
    logits = logits[: len(lens) // 2].repeat(2, 1, 1).requires_grad_()
    losses = consistency_losses(logits.log_softmax(dim=2), lens)
    losses.sum().backward()
    assert not losses.any()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits))
