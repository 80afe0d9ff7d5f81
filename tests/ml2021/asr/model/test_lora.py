"""LoRA and adapters: the first outputs are the base's, names are icefall's, merged weights give the same outputs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.model.config import LoraConfig, TransducerConfig
from ml2021.asr.model.lora import add_lora, merge_lora
from ml2021.asr.model.recogniser import AsrModel
from tests.ml2021.asr.zipformers import TWO_STACKS

CONFIG = TransducerConfig(TWO_STACKS, decoder_dim=16, joiner_dim=16)
WITH_ADAPTERS = replace(CONFIG, adapter_dim=4)


def new_model(config: TransducerConfig = CONFIG) -> AsrModel:
    torch.manual_seed(0)
    return AsrModel(config, 7).eval()


def outputs(model: AsrModel) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        return model.ctc_log_probs(torch.randn(2, 80, 80, generator=generator), torch.tensor([80, 61]))[0]


def randomise(model: AsrModel, names: tuple[str, ...]) -> None:
    torch.manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if any(x in name for x in names):
                p.normal_(0, 0.3)


def test_updates_have_the_names_and_layers_of_icefall() -> None:
    model = new_model()
    before = set(model.state_dict())
    add_lora(model, LoraConfig(rank=3))
    layer = "encoder.encoders.1.encoder.layers.0"
    new = {name for name in set(model.state_dict()) - before if name.startswith(layer)}
    linear = [f"{layer}.{x}.in_proj" for x in ("self_attn_weights", "self_attn1", "self_attn2")]
    linear += [f"{layer}.feed_forward{i}.in_proj" for i in (1, 2, 3)]
    linear += [f"{layer}.feed_forward{i}.out_proj.l" for i in (1, 2, 3)]
    assert new == {f"{x}.lora_{y}" for x in linear for y in "AB"}
    assert before <= set(model.state_dict())
    shapes = {k.rpartition(".")[2]: v.shape for k, v in model.state_dict().items() if "feed_forward2.out_proj.l" in k}
    assert shapes == {"lora_A": (3, 32), "lora_B": (32, 3)}


def test_first_outputs_are_those_of_the_base_to_the_bit() -> None:
    model = new_model()
    expected = outputs(model)
    add_lora(model, LoraConfig(rank=3, modules=(*LoraConfig().modules, "ctc_output.1")))
    assert torch.equal(outputs(model), expected)
    adapted = new_model(WITH_ADAPTERS)
    assert torch.equal(outputs(adapted), expected)
    assert all(torch.equal(v, adapted.state_dict()[k]) for k, v in new_model().state_dict().items())


@pytest.mark.parametrize("modules", [LoraConfig().modules, ("in_proj", "joiner.encoder_proj", "ctc_output.1")])
def test_merged_weights_give_the_outputs_of_the_updates(modules: tuple[str, ...]) -> None:
    config = LoraConfig(rank=2, alpha=3.0, modules=modules)
    model = new_model()
    base = outputs(model)
    add_lora(model, config)
    randomise(model, ("lora_",))
    expected = outputs(model)
    assert (expected - base).abs().max() > 0.1
    merged = new_model()
    merged.load_state_dict(merge_lora(model.state_dict(), config.alpha))
    torch.testing.assert_close(outputs(merged), expected, atol=1e-5, rtol=1e-5)


def test_an_update_is_multiplied_by_alpha_over_rank() -> None:
    weights = {
        "x.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        "x.lora_A": torch.tensor([[1.0, 2.0], [0.0, 1.0]]),
        "x.lora_B": torch.tensor([[1.0, 1.0], [0.0, -1.0]]),
        "y.bias": torch.tensor([5.0]),
    }
    merged = merge_lora(weights, alpha=6.0)
    assert merged.keys() == {"x.weight", "y.bias"} and merged["y.bias"] is weights["y.bias"]
    assert torch.equal(merged["x.weight"], torch.tensor([[4.0, 9.0], [0.0, -2.0]]))  # W + 3 B A


def test_dropout_changes_only_the_update_and_only_in_training() -> None:
    model = new_model()
    add_lora(model, LoraConfig(rank=4, dropout=0.5, modules=("joiner.encoder_proj",)))
    layer, x = model.joiner.encoder_proj, torch.randn(5, 32)
    assert torch.equal(layer.train()(x), layer.eval()(x))  # B is zero
    randomise(model, ("lora_B",))
    assert not torch.allclose(layer.train()(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_a_layer_that_does_not_exist_is_refused_with_those_that_do() -> None:
    model = new_model(WITH_ADAPTERS)
    with pytest.raises(ConfigError, match=r"no linear layer 'self_attn3\.in_proj'; it has .*self_attn1\.in_proj") as e:
        add_lora(model, LoraConfig(rank=1, modules=("feed_forward1.in_proj", "self_attn3.in_proj")))
    assert "adapter" not in str(e.value) and "encoder_embed" not in str(e.value)
    assert not any("lora" in name for name in model.state_dict())
    with pytest.raises(ConfigError, match="rank must be >= 0"):
        LoraConfig(rank=-1)


def test_adapters_have_the_names_and_places_of_icefall() -> None:
    new = new_model(WITH_ADAPTERS).state_dict().keys() - new_model().state_dict().keys()
    layers = ("encoder.encoders.0.layers.0", "encoder.encoders.1.encoder.layers.0")
    places = ("mid_adapter", "post_sa_adapter", "post_conv_adapter", "adapter")
    expected = {f"{x}.{y}.{z}_proj" for x in layers for y in places for z in ("in", "out")}
    assert new == {f"{x}.{kind}" for x in expected for kind in ("weight", "bias")}


@pytest.mark.parametrize("place", ["mid_adapter", "post_sa_adapter", "post_conv_adapter", ".adapter"])
def test_each_adapter_changes_the_outputs_in_a_stream_as_in_a_whole(place: str) -> None:
    encoder = replace(TWO_STACKS, causal=True, chunk_size=(16,), left_context_frames=(64,))
    model = new_model(TransducerConfig(encoder, decoder_dim=16, joiner_dim=16, adapter_dim=4))
    features = torch.randn(1, 2 * 16 * 4 + 13, 80, generator=torch.Generator().manual_seed(1))
    lens = torch.tensor([features.shape[1]])
    with torch.no_grad():
        before = model.forward_encoder(features, lens)[0]
        randomise(model, (place,))
        whole = model.forward_encoder(features, lens)[0]
        states, chunks = model.initial_states(), []
        for begin in range(0, features.shape[1] - 45 + 1, 32):
            chunk, _, states = model.streaming_forward(features[:, begin : begin + 45], torch.tensor([45]), states)
            chunks.append(chunk)
    stream = torch.cat(chunks, dim=1)
    torch.testing.assert_close(stream, whole[:, : stream.shape[1]], atol=1e-4, rtol=1e-4)
    assert stream.shape[1] >= 24 and (whole - before).abs().max() > 0.01
