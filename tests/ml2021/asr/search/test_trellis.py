"""Hypotheses are traced once, whenever they are asked for, and equal those traced back from the last frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml2021.asr.search import trellis as trellis_module
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.trellis import Trellis

Steps = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]


def random_steps(rng: np.random.Generator, num_frames: int, num_utterances: int, beam: int) -> Steps:
    """Parents, tokens and probabilities of a beam that changes at some frames, and is silent at others."""
    shape = (num_utterances, beam)
    change, emit = rng.uniform(0, 1, 2)
    steps = []
    for _ in range(num_frames):
        parents = np.where(rng.random(shape) < change, rng.integers(beam, size=shape), np.arange(beam))
        tokens = np.where(rng.random(shape) < emit, rng.integers(1, 50, size=shape), 0)
        steps.append((torch.from_numpy(parents), torch.from_numpy(tokens), torch.rand(shape)))
    return steps


def traced_back(steps: Steps, n: int, k: int) -> Hypothesis:
    """Hypothesis k of utterance n, from the last frame to the first."""
    emitted = []
    for t in range(len(steps) - 1, -1, -1):
        parents, tokens, probs = (x[n, k] for x in steps[t])
        if tokens != 0:
            emitted.append((int(tokens), t, round(float(probs), 4)))
        k = int(parents)
    columns = list(zip(*reversed(emitted))) or [(), (), ()]
    return Hypothesis(*columns)


@pytest.mark.parametrize("seed", range(30))
def test_hypotheses_traced_at_any_time_equal_those_traced_back_from_the_end(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    num_frames, num_utterances, beam = (int(rng.integers(1, most)) for most in (80, 4, 6))
    monkeypatch.setattr(trellis_module, "_MOST_STEPS", int(rng.integers(1, 40)))
    steps = random_steps(rng, num_frames, num_utterances, beam)
    trellis = Trellis()
    for t, step in enumerate(steps):
        trellis.add(*step)
        if rng.random() < 0.4 or t == num_frames - 1:
            best = torch.from_numpy(rng.integers(beam, size=num_utterances))
            expected = [traced_back(steps[: t + 1], n, int(best[n])) for n in range(num_utterances)]
            assert trellis.trace(best) == expected
            assert trellis.trace(best) == expected  # asked again without a new frame


@pytest.mark.parametrize("seed", range(10))
def test_settled_tokens_are_those_of_all_hypotheses_and_stay(seed: int) -> None:
    rng = np.random.default_rng(seed)
    beam, settled = 4, ()
    steps = random_steps(rng, 120, 1, beam)
    trellis = Trellis()
    for t, step in enumerate(steps):
        trellis.add(*step)
        if t % 5 == 4:
            hypotheses = [trellis.trace(torch.tensor([k]))[0].tokens for k in range(beam)]
            num = trellis.num_settled()[0]
            assert {h[:num] for h in hypotheses} == {hypotheses[0][:num]}
            assert num >= len(settled) and hypotheses[0][: len(settled)] == settled
            settled = hypotheses[0][:num]


def test_each_frame_is_traced_once_and_only_tokens_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long stream whose beam never agrees: the work of a trace and what is kept do not grow with the frames."""
    num_stacked = 0
    stack = torch.stack

    def counting_stack(tensors: list[torch.Tensor]) -> torch.Tensor:
        nonlocal num_stacked
        num_stacked += len(tensors)
        return stack(tensors)

    monkeypatch.setattr(torch, "stack", counting_stack)
    trellis, slots, zero = Trellis(), torch.tensor([[0, 1]]), torch.tensor([[0, 0]])
    for t in range(2500):
        tokens = torch.tensor([[1, 2]]) if t % 10 == 0 else zero
        trellis.add(slots, tokens, torch.ones(1, 2))
        if t % 10 == 9 and t < 1000:
            assert trellis.trace(torch.tensor([1]))[0].tokens == (2,) * (t // 10 + 1)
    assert len(trellis.steps) <= 1000  # although nobody has asked for 1,500 frames
    assert trellis.trace(torch.tensor([0]))[0].tokens == (1,) * 250
    assert num_stacked == 3 * 2500
    assert trellis.num_settled() == [0]
    (beam,) = trellis._beams
    assert max(len(piece.up_to_root()) for piece in beam.last) <= 4


def test_nothing_traced_yet() -> None:
    assert Trellis().trace(torch.tensor([0, 0])) == [Hypothesis((), (), ())] * 2
    assert Trellis().num_settled() == []
