"""Batched greedy search gives the same as a plain loop over single utterances."""

from __future__ import annotations

import pytest
import torch

from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search import greedy
from tests.ml2021.asr.zipformers import TWO_STACKS


def one_by_one(model: AsrModel, encoder_out: torch.Tensor, blank_penalty: float) -> tuple[list[int], list[int]]:
    """Greedy search with at most one token per frame; the decoder sees the last two tokens."""
    history, tokens, frames = [-1, 0], [], []
    for t in range(len(encoder_out)):
        lm = model.joiner.decoder_proj(model.decoder(torch.tensor([history[-2:]]), need_pad=False))[0, 0]
        logits = model.joiner(model.joiner.encoder_proj(encoder_out[t]), lm)
        logits[0] -= blank_penalty
        token = int(logits.argmax())
        if token != 0:
            history.append(token)
            tokens.append(token)
            frames.append(t)
    return tokens, frames


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("blank_penalty", [0.0, 0.5])
@pytest.mark.parametrize("look_ahead", [1, 8, 100])
@torch.no_grad()
def test_batch_equals_one_by_one(
    seed: int, blank_penalty: float, look_ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greedy, "LOOK_AHEAD", look_ahead)
    torch.manual_seed(seed)
    model = AsrModel(TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16), vocab_size=7).eval()
    for p in model.joiner.parameters():
        p.mul_(3)  # far enough from uniform that tokens depend on the history
    encoder_out, lens = torch.randn(4, 30, 32), torch.tensor([30, 1, 17, 0])
    hypotheses = greedy.greedy_search(model, encoder_out, lens, blank_penalty)
    hypotheses += greedy.greedy_search(model, encoder_out[:1], lens[:1], blank_penalty)
    assert any(len(h.tokens) > 3 for h in hypotheses)
    for hypothesis, i in zip(hypotheses, [0, 1, 2, 3, 0], strict=True):
        tokens, frames = one_by_one(model, encoder_out[i, : lens[i]], blank_penalty)
        assert (list(hypothesis.tokens), list(hypothesis.frames)) == (tokens, frames)
        assert all(0 < s <= 1 for s in hypothesis.scores)


@pytest.mark.parametrize("context_size", [1, 2, 3])
@torch.no_grad()
def test_frame_by_frame_as_on_a_gpu_gives_the_same_as_looking_ahead(context_size: int) -> None:
    torch.manual_seed(context_size)
    config = TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16, context_size=context_size)
    model = AsrModel(config, vocab_size=7).eval()
    for p in model.joiner.parameters():
        p.mul_(3)
    am, lens = model.joiner.encoder_proj(torch.randn(4, 30, 32)), torch.tensor([30, 1, 17, 0])
    tokens, probs = greedy.choose_frame_by_frame(model, am, lens, 0.5)
    expected, expected_probs = greedy.choose_looking_ahead(model, am, lens, 0.5)
    assert torch.equal(tokens, expected) and int((tokens != 0).sum()) > 10
    torch.testing.assert_close(probs[tokens != 0], expected_probs[tokens != 0])
