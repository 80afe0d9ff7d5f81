"""A stream gives, chunk by chunk, the tokens that the causal model gives for the whole utterance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import SILENCE, AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.streaming import LOOK_AHEAD, StreamingRecogniser

ENCODER = ZipformerConfig(
    num_encoder_layers=(1, 2),
    downsampling_factor=(1, 2),
    encoder_dim=(24, 32),
    encoder_unmasked_dim=(16,),
    feedforward_dim=(32,),
    num_heads=(2,),
    query_head_dim=(8,),
    cnn_module_kernel=(7,),
    embed_channels=(4, 8, 16),
    causal=True,
    chunk_size=(16, -1),
    left_context_frames=(32, -1),
)
CONFIG = TransducerConfig(encoder=ENCODER, decoder_dim=24, joiner_dim=20)


def random_model(seed: int) -> AsrModel:
    """A model with random weights that emits many different tokens."""
    torch.manual_seed(seed)
    model = AsrModel(CONFIG, 30)
    with torch.no_grad():
        for layer in (model.joiner.output_linear, model.joiner.encoder_proj, model.joiner.decoder_proj):
            layer.weight.mul_(20)
    return model.eval()


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("num_frames", [1, 40, 57, 333, 500])
@pytest.mark.parametrize("num_accepted", [1, 32, 1000])
def test_stream_gives_the_tokens_of_its_offline_simulation(num_frames: int, num_accepted: int, seed: int) -> None:
    model = random_model(seed)
    x = 4 * torch.randn(num_frames, 80, generator=torch.Generator().manual_seed(0)) - 8
    stream = StreamingRecogniser(model)
    for begin in range(0, num_frames, num_accepted):
        before = stream.result.tokens
        assert stream.accept(x[begin : begin + num_accepted]).tokens[: len(before)] == before
    result = stream.finish()
    tail = torch.full((stream.shift + LOOK_AHEAD + 10, 80), SILENCE)
    with torch.no_grad():
        whole = torch.cat([x, tail])
        hypothesis = greedy_search(model, *model.forward_encoder(whole[None], torch.tensor([len(whole)])))[0]
    num_streamed = -(-num_frames // stream.shift) * stream.shift // 4
    expected = [(t, f) for t, f in zip(hypothesis.tokens, hypothesis.frames) if f < num_streamed]
    assert list(zip(result.tokens, result.frames)) == expected
    assert num_frames < 300 or len(set(result.tokens)) > 2


@pytest.mark.parametrize("beam", [None, 3])
def test_features_in_any_pieces_give_the_same_result_and_settled_tokens_stay(beam: int | None) -> None:
    model = random_model(1)
    x = 4 * torch.randn(400, 80, generator=torch.Generator().manual_seed(0)) - 8
    at_once = StreamingRecogniser(model, beam=beam)
    at_once.accept(x)
    piecewise, rng = StreamingRecogniser(model, beam=beam), torch.Generator().manual_seed(2)
    begin, settled = 0, ()
    while begin < len(x):
        end = begin + int(torch.randint(0, 70, (1,), generator=rng))
        tokens = piecewise.accept(x[begin:end]).tokens
        assert tokens[: len(settled)] == settled and piecewise.num_settled >= len(settled)
        begin, settled = end, tokens[: piecewise.num_settled]
    assert piecewise.result == at_once.result
    assert piecewise.finish() == at_once.finish()
    assert settled


def test_queued_features_are_not_copied_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StreamingRecogniser(random_model(0))
    num_copied, cat = 0, torch.cat

    def counting_cat(tensors: list[torch.Tensor]) -> torch.Tensor:
        nonlocal num_copied
        num_copied += sum(map(len, tensors))
        return cat(tensors)

    monkeypatch.setattr(torch, "cat", counting_cat)
    for _ in range(300):
        stream.queue(torch.zeros(10, 80))
    assert num_copied == 0
    while stream.is_ready:
        assert stream.next_chunk().shape == (stream.shift + LOOK_AHEAD, 80)
    assert num_copied < 3 * 3000


def test_blank_penalty() -> None:
    model = random_model(0)
    x = 4 * torch.randn(100, 80, generator=torch.Generator().manual_seed(0)) - 8
    streams = [StreamingRecogniser(model, penalty) for penalty in (-1e4, 1e4)]
    for stream in streams:
        stream.accept(x)
    assert streams[0].result.tokens == () and len(streams[1].result.tokens) == 2 * 8  # every frame of two chunks


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, encoder=replace(ENCODER, causal=False)),
        replace(CONFIG, encoder=replace(ENCODER, chunk_size=(-1,))),
    ],
)
def test_models_that_cannot_stream_are_refused(config: TransducerConfig) -> None:
    with pytest.raises(ConfigError, match="stream"):
        StreamingRecogniser(AsrModel(config, 30).eval())
