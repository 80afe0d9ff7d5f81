"""The Zipformer gives icefall's results, and neither padding nor later chunks change its outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.loss.transducer import transducer_losses
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.layers.schedule import Schedule, set_batch_count
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.attention import by_key
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.model.zipformer.encoder import Zipformer
from ml2021.asr.search.fast_beam_search import fast_beam_search
from ml2021.asr.search.greedy import greedy_search
from ml2021.asr.search.modified_beam_search import modified_beam_search

FOLDER = Path(__file__).parents[4] / "goldens"
KINDS = ("offline", "causal")
CHUNK, FED = 32, 45  # input frames: shift of a stream from chunk to chunk, input of one chunk


def load_golden(name: str, mask_padding: bool = False) -> tuple[AsrModel, dict[str, Any]]:
    """The model "offline" or "causal" with icefall's weights, in evaluation mode, and icefall's inputs and outputs."""
    content = dict(np.load(FOLDER / f"zipformer_{name}.npz"))
    c = json.loads(str(content["config"]))
    encoder = ZipformerConfig(
        num_encoder_layers=tuple(c["layers"]),
        downsampling_factor=tuple(c["ds"]),
        encoder_dim=tuple(c["dims"]),
        encoder_unmasked_dim=tuple(d - 8 for d in c["dims"]),
        feedforward_dim=tuple(c["ff"]),
        num_heads=tuple(c["heads"]),
        query_head_dim=(16,),
        cnn_module_kernel=tuple(c["k"]),
        pos_dim=24,
        causal=c["causal"],
        chunk_size=(16,),
        left_context_frames=(64,),
        mask_padding=mask_padding,
    )
    config = TransducerConfig(encoder=encoder, decoder_dim=c["D"], joiner_dim=c["D"], rnnt_type="regular")
    model = AsrModel(config, c["V"])
    model.load_state_dict({k[2:]: torch.from_numpy(v) for k, v in content.items() if k.startswith("w:")})  # strict
    values: dict[str, Any] = {}
    for key, value in content.items():
        if not key.startswith("w:"):
            values[key] = json.loads(str(value)) if value.dtype.kind == "U" else torch.from_numpy(value)
    return model.eval(), values


@pytest.fixture(scope="module", params=KINDS)
def golden(request: pytest.FixtureRequest) -> tuple[AsrModel, dict[str, Any], Tensor, Tensor]:
    """The model, icefall's values, our encoder_out and its lengths."""
    model, values = load_golden(request.param)
    with torch.no_grad():
        return model, values, *model.forward_encoder(values["x"], values["x_lens"])


def test_encoder_and_ctc_are_those_of_icefall(golden: tuple[AsrModel, dict[str, Any], Tensor, Tensor]) -> None:
    model, values, encoder_out, lens = golden
    assert lens.tolist() == values["encoder_out_lens"].tolist()
    ctc = model.ctc_output(encoder_out)
    for i, n in enumerate(lens.tolist()):
        torch.testing.assert_close(encoder_out[i, :n], values["encoder_out"][i, :n], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ctc[i, :n], values["ctc"][i, :n], atol=1e-4, rtol=1e-4)


def test_losses_are_those_of_icefall(golden: tuple[AsrModel, dict[str, Any], Tensor, Tensor]) -> None:
    model, values, _, _ = golden
    assert model.config.prune_range == int(values["prune_range"]) and model.config.lm_scale == values["lm_scale"]
    tokens = [ids[:n].tolist() for ids, n in zip(values["symbols"], values["symbol_lens"])]
    losses = transducer_losses(model, values["x"], values["x_lens"], tokens)
    for name in ("simple", "pruned", "ctc"):
        torch.testing.assert_close(getattr(losses, name), values[f"{name}_loss"], rtol=1e-4, atol=1e-4)


def test_losses_in_bf16_are_within_a_hundredth(golden: tuple[AsrModel, dict[str, Any], Tensor, Tensor]) -> None:
    model, values, _, _ = golden
    tokens = [ids[:n].tolist() for ids, n in zip(values["symbols"], values["symbol_lens"])]
    with torch.autocast("cpu", torch.bfloat16):
        losses = transducer_losses(model, values["x"], values["x_lens"], tokens)
    for name in ("simple", "pruned", "ctc"):
        torch.testing.assert_close(getattr(losses, name), values[f"{name}_loss"], rtol=0.01, atol=0.0)


def test_greedy_search_gives_the_tokens_of_icefall(golden: tuple[AsrModel, dict[str, Any], Tensor, Tensor]) -> None:
    model, values, encoder_out, lens = golden
    assert [list(h.tokens) for h in greedy_search(model, encoder_out, lens)] == values["greedy"]


def test_modified_beam_search_gives_the_tokens_of_icefall(
    golden: tuple[AsrModel, dict[str, Any], Tensor, Tensor],
) -> None:
    model, values, encoder_out, lens = golden
    hypotheses = modified_beam_search(model, encoder_out, lens, beam=4)
    assert [list(h.tokens) for h in hypotheses] == values["modified_beam_search_4"]


@pytest.mark.needs_k2
def test_fast_beam_search_gives_the_tokens_of_icefall(golden: tuple[AsrModel, dict[str, Any], Tensor, Tensor]) -> None:
    model, values, encoder_out, lens = golden
    hypotheses = fast_beam_search(model, encoder_out, lens)
    assert [list(h.tokens) for h in hypotheses] == values["fast_beam_search_one_best"]


def stream(model: AsrModel, x: Tensor) -> Tensor:
    """The outputs of all complete chunks of x (N, T, 80): (N, T', D)."""
    states, outputs = model.initial_states(len(x)), []
    lens = torch.full((len(x),), FED)
    for begin in range(0, x.shape[1] - FED + 1, CHUNK):
        out, out_lens, states = model.streaming_forward(x[:, begin : begin + FED], lens, states)
        assert out_lens.tolist() == [out.shape[1]] * len(x)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


@torch.no_grad()
def test_stream_is_that_of_icefall() -> None:
    model, values = load_golden("causal")
    assert (int(values["stream_chunk_frames"]), int(values["stream_input_frames"])) == (CHUNK, FED)
    torch.testing.assert_close(stream(model, values["x"][:1]), values["stream_out"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_stream_and_whole_utterance_give_the_same() -> None:
    model, _ = load_golden("causal")
    x = 4 * torch.randn(3, 400, 80, generator=torch.Generator().manual_seed(0)) - 8
    out = stream(model, x)
    whole, _ = model.forward_encoder(x, torch.tensor([400] * 3))
    torch.testing.assert_close(out, whole[:, : out.shape[1]], atol=1e-4, rtol=1e-4)
    assert out.shape[1] == 12 * 8  # longer than the left context of 64 frames


@torch.no_grad()
@pytest.mark.parametrize("chunk", [0, 1, 3])
def test_causal_output_does_not_depend_on_later_chunks(chunk: int) -> None:
    model, values = load_golden("causal", mask_padding=True)
    x, lens = values["x"][:1], torch.tensor([183])
    seen = chunk * CHUNK + FED  # input frames that the chunk's convolutions see
    changed = x.clone()
    changed[:, seen:] = 5.0
    a, b = (model.forward_encoder(features, lens)[0] for features in (x, changed))
    end = (chunk + 1) * CHUNK // 4
    torch.testing.assert_close(a[:, :end], b[:, :end], atol=1e-5, rtol=1e-5)
    assert (a[:, end : end + 8] - b[:, end : end + 8]).abs().amax() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_no_output(kind: str) -> None:
    model, _ = load_golden(kind, mask_padding=True)
    lens = [150, 33, 9, 97, 12, 95]
    x = 4 * torch.randn(len(lens), 170, 80, generator=torch.Generator().manual_seed(0)) - 8
    together, out_lens = model.forward_encoder(x, torch.tensor(lens))
    for i, n in enumerate(lens):
        alone, alone_lens = model.forward_encoder(x[i : i + 1, :n], torch.tensor([n]))
        assert alone_lens.item() == out_lens[i] == alone.shape[1]
        torch.testing.assert_close(together[i : i + 1, : out_lens[i]], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_frames", [183, 96, 41])
def test_without_padding_the_mask_changes_nothing(kind: str, num_frames: int) -> None:
    x, lens = 4 * torch.randn(2, num_frames, 80) - 8, torch.tensor([num_frames] * 2)
    masked, not_masked = (load_golden(kind, m)[0].forward_encoder(x, lens)[0] for m in (True, False))
    torch.testing.assert_close(masked, not_masked, atol=1e-4, rtol=1e-4)


def test_relative_scores_by_key_take_the_offset_of_the_key() -> None:
    """Column r stands for the offset r - (K - 1), key minus query, as in icefall."""
    for num_frames, left in ((5, 0), (1, 0), (4, 3), (1, 6)):
        num_keys = left + num_frames
        offsets = torch.arange(-(num_keys - 1), num_frames + 1).expand(2, 3, num_frames, -1).contiguous()
        keys, queries = torch.arange(num_keys), torch.arange(num_frames)[:, None] + left
        assert torch.equal(by_key(offsets, num_keys), (keys - queries).expand(2, 3, -1, -1))


def test_utterance_too_short_for_the_convolutions_still_has_a_frame() -> None:
    model, _ = load_golden("offline")
    out, lens = model.forward_encoder(torch.randn(2, 5, 80), torch.tensor([5, 1]))
    assert lens.tolist() == [1, 1] and out.shape[1] == 1 and torch.isfinite(out).all()


def small(**values: Any) -> Zipformer:
    return Zipformer(
        ZipformerConfig(
            num_encoder_layers=(2, 1),
            downsampling_factor=(1, 2),
            encoder_dim=(24, 32),
            encoder_unmasked_dim=(16,),
            feedforward_dim=(32,),
            num_heads=(2,),
            query_head_dim=(8,),
            cnn_module_kernel=(7,),
            warmup_batches=300.0,
            **values,
        )
    )


def test_skip_rates_fall_layer_by_layer() -> None:
    """The embedding gets the first 100 batches, then each stack 100, divided among its layers."""
    encoder = small()
    first, second, third = (module.skip_rate for name, module in encoder.named_modules() if name.endswith(".bypass"))
    for rate, begin, end, last in ((first, 100, 150, 0.035), (second, 150, 200, 0.035), (third, 200, 300, 0.0495)):
        assert isinstance(rate, Schedule) and rate.default == 0.0
        assert [rate(b) for b in (0, begin, end, 1e6)] == pytest.approx([0.5, 0.5, last, last], abs=1e-4)


def test_channels_are_masked_in_whole_utterances_and_equally_in_all_stacks() -> None:
    torch.manual_seed(0)
    encoder = small().train()
    masks = encoder._feature_masks(torch.randn(2000, 3, 24))
    kinds = []
    for mask, unmasked, half in zip(masks, (16, 16), (20, 24)):
        assert mask is not None and (mask[:, :, :unmasked] == 1).all()
        middle, upper = mask[:, 0, unmasked:half], mask[:, 0, half:]
        assert (middle == middle[:, :1]).all() and (upper == upper[:, :1]).all()
        kinds.append((middle[:, 0], upper[:, 0]))
    assert all(torch.equal(a, b) for a, b in zip(kinds[0], kinds[1]))
    middle, upper = kinds[0]
    assert 0.1 < float(1 - middle.mean()) < 0.15 and 0.2 < float(1 - upper.mean()) < 0.27
    assert not (upper > middle).any()
    assert encoder.eval()._feature_masks(torch.randn(2, 3, 24)) == [None, None]


def test_causal_model_draws_chunks_in_training_and_uses_the_first_in_evaluation() -> None:
    torch.manual_seed(0)
    encoder = small(causal=True, chunk_size=(8, 16, -1), left_context_frames=(32, 64))
    drawn = {encoder.train()._choose_chunk() for _ in range(200)}
    assert drawn == {(8, 4), (8, 8), (16, 2), (16, 4), (-1, -1)}
    assert {encoder.eval()._choose_chunk() for _ in range(20)} == {(8, 4)}


@pytest.mark.parametrize("causal", [False, True])
def test_training_gives_all_parameters_finite_gradients_and_repeats_with_its_seed(causal: bool) -> None:
    encoder = small(causal=causal, chunk_size=(8,), left_context_frames=(32,)).train()
    x, lens = torch.randn(4, 60, 24), torch.tensor([60, 41, 13, 7])

    def gradients() -> dict[str, Tensor]:
        torch.manual_seed(1)
        set_batch_count(encoder, 1e5)  # late enough that nothing is skipped
        encoder.zero_grad()
        encoder(x, lens)[0].square().sum().backward()
        return {k: p.grad for k, p in encoder.named_parameters() if p.grad is not None}

    first = {k: g.clone() for k, g in gradients().items()}
    missing = {k.rpartition(".")[2] for k, _ in encoder.named_parameters() if k not in first}
    assert missing == {"bypass_scale"}  # the one of each layer that is unused, as in icefall
    assert all(torch.isfinite(g).all() for g in first.values())
    assert all(torch.equal(g, first[k]) for k, g in gradients().items())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder_dim": (96, 128)}, "encoder_dim must have one value or 6"),
        ({"cnn_module_kernel": (30,)}, "odd"),
        ({"encoder_unmasked_dim": (600,)}, "encoder_unmasked_dim"),
        ({"causal": True, "chunk_size": (12,)}, "multiple of every downsampling_factor"),
        ({"causal": True, "left_context_frames": (16,)}, "left_context_frames must be >= "),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ZipformerConfig(**values)
