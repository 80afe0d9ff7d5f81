"""Splitting a batch: each utterance is in one small batch, none is too large, and outputs stay the same."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ml2021.asr.model import recogniser as model_module
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layers.cpu_batches import batches_by_length, only_decodes
from ml2021.asr.model.recogniser import AsrModel
from tests.ml2021.asr.zipformers import TWO_STACKS


@pytest.mark.parametrize("seed", range(50))
def test_every_utterance_is_in_one_batch_of_limited_size(seed: int) -> None:
    rng = random.Random(seed)
    lens, limit = [rng.randint(1, 40) for _ in range(rng.randint(0, 12))], rng.randint(1, 100)
    batches = batches_by_length(lens, limit)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lens)))
    assert [lens[i] for batch in batches for i in batch] == sorted(lens)
    for batch, following in zip(batches, [*batches[1:], []]):
        assert len(batch) == 1 or len(batch) * max(lens[i] for i in batch) <= limit
        assert not following or (len(batch) + 1) * lens[following[0]] > limit  # no batch is smaller than necessary


def small_model(mask_padding: bool) -> AsrModel:
    """A model with random weights in evaluation mode."""
    torch.manual_seed(0)
    encoder = replace(TWO_STACKS, mask_padding=mask_padding)
    return AsrModel(TransducerConfig(encoder, decoder_dim=16, joiner_dim=16), vocab_size=7).eval()


@pytest.mark.parametrize("mask_padding", [True, False])
def test_encoder_gives_the_same_in_small_batches(mask_padding: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, lens = small_model(mask_padding), torch.tensor([80, 200, 3, 150, 90, 85])
    features = 4 * torch.randn(6, 210, 80) - 8
    sizes = []
    embed = model.encoder_embed.forward

    def counted(x: Tensor, *args: object) -> tuple[Tensor, Tensor]:
        sizes.append(tuple(x.shape[:2]))
        return embed(x, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(model.encoder_embed, "forward", counted)
    whole, whole_lens = model.forward_encoder(features, lens)  # with gradients: a single batch
    monkeypatch.setattr(model_module, "DECODED_FRAMES", 270)
    with torch.no_grad():
        outputs, output_lens = model.forward_encoder(features, lens)
    widths = (85, 90, 150, 200) if mask_padding else (200, 200, 200, 200)
    assert sizes == [(6, 200), *zip((3, 1, 1, 1), widths)]
    assert outputs.shape == whole.shape and torch.equal(output_lens, whole_lens)
    for a, b, n in zip(outputs, whole.detach(), whole_lens.tolist()):
        torch.testing.assert_close(a[:n], b[:n], atol=3e-6, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_batches_with_gradients_or_traced_are_not_split() -> None:
    x, answers = torch.zeros(2), []

    def ask(y: Tensor) -> Tensor:
        answers.append(only_decodes(y))
        return y + 1

    ask(x)
    with torch.inference_mode():
        ask(x)
    with torch.no_grad():
        ask(x)
        torch.jit.trace(ask, x, check_trace=False)
    assert answers == [False, True, True, False]
