"""The exported networks give the same outputs as the model, and sherpa-onnx decodes with them as our search does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import lhotse
import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import load_lang, make_lang
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.export.model_card import model_card
from ml2021.asr.export.offline import export_onnx, write_pretrained
from ml2021.asr.export.sherpa import SherpaConfig, compare_with_ours, decode_cuts
from ml2021.asr.export.streaming import can_stream, export_streaming
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.load import load_model
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.streaming import LOOK_AHEAD, StreamingRecogniser
from ml2021.asr.sherpa.worker import STREAM_TAIL
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import read_asr_config
from ml2021.training.checkpoint import save_checkpoint
from tests.ml2021.asr.zipformers import TWO_STACKS

ENCODER = replace(TWO_STACKS, num_encoder_layers=(1, 2), embed_channels=ZipformerConfig.embed_channels)
CONFIG = AsrConfig(model=TransducerConfig(encoder=ENCODER, decoder_dim=24, joiner_dim=20))


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained experiment folder, with weights that emit tokens of all kinds."""
    folder = tmp_path_factory.mktemp("exp") / "asr"
    tokens = make_lang(["我 們 用 attention 來 做 a generator"], [], folder / "lang", LangConfig(num_english_pieces=30))
    torch.manual_seed(5)
    model = AsrModel(CONFIG.model, len(tokens))
    with torch.no_grad():
        for layer in (model.joiner.output_linear, model.joiner.encoder_proj, model.joiner.decoder_proj):
            layer.weight.mul_(20)
    write_json(folder / "config.json", to_mapping(CONFIG))
    save_checkpoint(folder / "pretrained.pt", {"model": model.state_dict()})
    return folder


@pytest.fixture(scope="module")
def exported(exp_dir: Path) -> Path:
    model, tokens = load_model(exp_dir)
    export_onnx(model, tokens, exp_dir.parent / "sherpa-onnx")
    return exp_dir.parent / "sherpa-onnx"


def greedy_tokens(model: AsrModel, features: torch.Tensor) -> list[int]:
    """Greedy search with at most one token per frame, as in sherpa-onnx; independent of our own search."""
    with torch.no_grad():
        encoder_out, _ = model.forward_encoder(features[None], torch.tensor([len(features)]))
        projected = model.joiner.encoder_proj(encoder_out[0])
        history = [-1] * (model.decoder.context_size - 1) + [model.decoder.blank_id]
        for frame in projected:
            context = torch.tensor([history[-model.decoder.context_size :]])
            decoder_out = model.joiner.decoder_proj(model.decoder(context, need_pad=False)[0, 0])
            token = int(model.joiner(frame, decoder_out).argmax())
            if token not in (model.decoder.blank_id, 2):  # sherpa-onnx omits <unk>
                history.append(token)
    return history[model.decoder.context_size :]


def test_load_model_gives_what_was_saved(exp_dir: Path) -> None:
    model, tokens = load_model(exp_dir)
    config = read_asr_config(exp_dir)
    assert config == CONFIG and len(tokens) == model.vocab_size and not model.training
    zeros = {k: torch.zeros_like(v) for k, v in model.state_dict().items()}
    other, _ = load_model(exp_dir, zeros)
    assert not any(v.any() for v in other.state_dict().values())


def test_load_model_errors_name_the_cause(exp_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"config\.json.*stage 5"):
        load_model(tmp_path)
    wide = AsrModel(replace(CONFIG.model, decoder_dim=48), 30)
    with pytest.raises(DataError, match="do not fit"):
        load_model(exp_dir, wide.state_dict())


def test_networks_accept_any_lengths_and_padding_changes_nothing(exp_dir: Path, exported: Path) -> None:
    model, _ = load_model(exp_dir)
    encoder = onnxruntime.InferenceSession(str(exported / "encoder.onnx"))
    rng = np.random.default_rng(0)
    for lens in ([200, 31], [1], [2], [9], [333], [64, 64, 64, 3]):
        x = rng.normal(-8, 4, (len(lens), max(lens), 80)).astype(np.float32)
        out, out_lens = encoder.run(None, {"x": x, "x_lens": np.array(lens)})
        assert out_lens.tolist() == [max(1, ((n - 7) // 2 + 1) // 2) for n in lens]
        for i, n in enumerate(lens):
            with torch.no_grad():
                alone, _ = model.forward_encoder(torch.from_numpy(x[i : i + 1, :n]), torch.tensor([n]))
                alone = model.joiner.encoder_proj(alone)[0]
            np.testing.assert_allclose(out[i, : out_lens[i]], alone, atol=1e-4)


def test_files_have_the_metadata_that_sherpa_onnx_reads(exp_dir: Path, exported: Path) -> None:
    tokens = load_lang(exp_dir / "lang")
    for name in ("encoder", "decoder", "joiner"):
        content = onnx.load(str(exported / f"{name}.onnx"))
        metadata = {p.key: p.value for p in content.metadata_props}
        assert metadata["vocab_size"] == str(len(tokens)) and metadata["context_size"] == "2"
    joiner = onnxruntime.InferenceSession(str(exported / "joiner.onnx"))
    assert [i.name for i in joiner.get_inputs()] == ["encoder_out", "decoder_out"]
    assert joiner.get_outputs()[0].shape[1] == len(tokens)
    assert (exported / "tokens.txt").read_bytes() == (exp_dir / "lang" / "tokens.txt").read_bytes()


def test_weights_that_are_not_finite_are_not_exported(exp_dir: Path, tmp_path: Path) -> None:
    model, tokens = load_model(exp_dir)
    with torch.no_grad():
        model.joiner.output_linear.weight[0, 0] = float("nan")
    with pytest.raises(DataError, match=r"joiner\.onnx"):
        export_onnx(model, tokens, tmp_path)


def make_cuts(folder: Path, num_cuts: int) -> lhotse.CutSet:
    rng = np.random.default_rng(1)
    cuts = []
    for i in range(num_cuts):
        path = folder / f"lecture-{i:04d}.wav"
        soundfile.write(path, rng.normal(0, 0.1, 8000 + 5000 * i), SAMPLE_RATE, subtype="FLOAT")
        cuts.append(lhotse.Recording.from_file(path).to_cut())
    return lhotse.CutSet.from_cuts(cuts)


def test_sherpa_onnx_decodes_a_batch_as_we_do(exp_dir: Path, exported: Path, tmp_path: Path) -> None:
    cuts = make_cuts(tmp_path, 6)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    texts = decode_cuts(exported, tmp_path / "cuts.jsonl.gz")
    model, tokens = load_model(exp_dir)
    kinds: Counter[bool] = Counter()
    for cut in cuts:
        ids = greedy_tokens(model, torch.from_numpy(fbank(cut.load_audio()[0])))
        kinds.update(tokens.symbols[i].isascii() for i in ids)
        assert texts[cut.id].replace(" ", "") == "".join(tokens.symbols[i] for i in ids).replace("▁", "")
    assert kinds[True] > 5 and kinds[False] > 5  # the comparison was not of empty texts


def test_sherpa_onnx_takes_the_blank_penalty(exp_dir: Path, tmp_path: Path) -> None:
    make_cuts(tmp_path, 2).to_file(tmp_path / "cuts.jsonl.gz")
    model, tokens = load_model(exp_dir)
    with torch.no_grad():
        model.joiner.output_linear.bias[0] += 1e4
    export_onnx(model, tokens, tmp_path)
    texts = [decode_cuts(tmp_path, tmp_path / "cuts.jsonl.gz", SherpaConfig(p)) for p in (0.0, 1e4)]
    assert not any(texts[0].values()) and all(texts[1].values())


def test_message_of_sherpa_onnx_is_in_the_error(exported: Path, tmp_path: Path) -> None:
    make_cuts(tmp_path, 1).to_file(tmp_path / "cuts.jsonl.gz")
    with pytest.raises(DataError, match="sherpa-onnx cannot use .*exit status"):
        decode_cuts(tmp_path, tmp_path / "cuts.jsonl.gz")


def test_int8_files_have_8_bit_weights_and_nearly_the_same_outputs(exported: Path) -> None:
    small, whole = (onnxruntime.InferenceSession(str(exported / f"joiner{kind}.onnx")) for kind in (".int8", ""))
    rng = np.random.default_rng(0)
    feed = {i.name: rng.normal(0, 1, (5, 20)).astype(np.float32) for i in whole.get_inputs()}
    a, b = small.run(None, feed)[0], whole.run(None, feed)[0]
    assert 0 < np.abs(a - b).max() < 0.1 * np.abs(b).max()
    for name in ("encoder", "joiner"):
        matrices = [x for x in onnx.load(str(exported / f"{name}.int8.onnx")).graph.initializer if len(x.dims) == 2]
        assert any(x.data_type == onnx.TensorProto.INT8 for x in matrices)


def test_sherpa_onnx_decodes_in_int8_and_finds_hotwords(exported: Path, tmp_path: Path) -> None:
    make_cuts(tmp_path, 2).to_file(tmp_path / "cuts.jsonl.gz")
    (tmp_path / "hotwords.txt").write_text("generator 來 attention\n", encoding="utf-8")
    beam = SherpaConfig(decoding_method="modified_beam_search", max_active_paths=64, int8=True)
    hot = replace(beam, hotwords_file=str(tmp_path / "hotwords.txt"), hotwords_score=50.0)
    plain, boosted = (decode_cuts(exported, tmp_path / "cuts.jsonl.gz", c) for c in (beam, hot))
    assert all("generator來attention" in text.replace(" ", "") for text in boosted.values())
    assert not any("generator來attention" in text.replace(" ", "") for text in plain.values())


def test_pretrained_has_the_format_of_icefall(exp_dir: Path, tmp_path: Path) -> None:
    model, _ = load_model(exp_dir)
    write_pretrained(model, tmp_path)
    content = torch.load(tmp_path / "pretrained.pt", weights_only=True)
    assert list(content) == ["model"] and content["model"].keys() == model.state_dict().keys()


def test_sherpa_onnx_streams_as_we_do(exp_dir: Path, tmp_path: Path) -> None:
    tokens = load_lang(exp_dir / "lang")
    encoder = replace(CONFIG.model.encoder, causal=True, chunk_size=(16,), left_context_frames=(32,))
    torch.manual_seed(3)
    model = AsrModel(replace(CONFIG.model, encoder=encoder), len(tokens)).eval()
    with torch.no_grad():
        for layer in (model.joiner.output_linear, model.joiner.encoder_proj, model.joiner.decoder_proj):
            layer.weight.mul_(20)
        model.joiner.output_linear.bias[2] = -1e6  # sherpa-onnx omits <unk>
    assert can_stream(model) and not can_stream(load_model(exp_dir)[0])
    export_streaming(model, tokens, tmp_path / "streaming")
    cuts = make_cuts(tmp_path, 3)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    config = SherpaConfig(streaming=True)
    texts = decode_cuts(tmp_path / "streaming", tmp_path / "cuts.jsonl.gz", config)
    kinds = set()
    for cut in cuts:
        tail = np.zeros(int(STREAM_TAIL * SAMPLE_RATE), dtype=np.float32)
        features = fbank(np.concatenate([cut.load_audio()[0], tail]))
        stream = StreamingRecogniser(model)
        # sherpa-onnx waits for one more frame than a chunk needs
        ids = stream.accept(
            torch.from_numpy(features[: (len(features) - 1 - LOOK_AHEAD) // 32 * 32 + LOOK_AHEAD])
        ).tokens
        kinds |= set(ids)
        assert texts[cut.id].replace(" ", "") == "".join(tokens.symbols[i] for i in ids).replace("▁", "")
    assert len(kinds) > 3


def test_streams_need_the_channels_that_sherpa_onnx_expects(caplog: pytest.LogCaptureFixture) -> None:
    encoder = replace(CONFIG.model.encoder, causal=True, chunk_size=(16,), left_context_frames=(32,))
    narrow = replace(encoder, embed_channels=(8, 32, 64))
    assert can_stream(AsrModel(replace(CONFIG.model, encoder=encoder), 9)) and not caplog.records
    assert not can_stream(AsrModel(replace(CONFIG.model, encoder=narrow), 9))
    assert "takes 128 as the last of embed_channels, and this model has 64" in caplog.text


def test_streams_of_an_export_are_compared_with_ours(exp_dir: Path, tmp_path: Path) -> None:
    tokens = load_lang(exp_dir / "lang")
    encoder = replace(CONFIG.model.encoder, causal=True, chunk_size=(16,), left_context_frames=(32,))
    model = AsrModel(replace(CONFIG.model, encoder=encoder), len(tokens)).eval()
    with torch.no_grad():
        model.joiner.output_linear.bias[0] = 100.0  # nothing but blank
    export_streaming(model, tokens, tmp_path / "streaming")
    cuts = make_cuts(tmp_path, 3)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    refs = {cut.id: "我 們 a" for cut in cuts}
    arguments = tokens, tmp_path / "streaming", tmp_path / "cuts.jsonl.gz", refs, 2
    scores = compare_with_ours(model, *arguments, streaming=True)
    assert scores == {
        "sherpa_streaming_num_cuts": 2,
        "sherpa_streaming_mer": 100.0,
        "sherpa_streaming_int8_mer": 100.0,
        "sherpa_streaming_our_mer": 100.0,
        "sherpa_streaming_same_percent": 100.0,
    }
    offline = {name.replace("streaming_", ""): 50.0 for name in scores}
    card = model_card(model, tokens, tmp_path, "greedy_search", {"mer": 50.0}, offline | scores)
    assert "| sherpa-onnx, float32, greedy_search, streams | 50 | 100.00 |" in card and "OnlineRecognizer" in card
    assert "streams" not in model_card(model, tokens, tmp_path, "greedy_search", {"mer": 50.0}, offline)
    with torch.no_grad():
        model.joiner.output_linear.bias[tokens.encode("我")[0]] = 200.0  # at each frame
    with pytest.raises(DataError, match="is the model damaged"):
        compare_with_ours(model, *arguments, streaming=True)
