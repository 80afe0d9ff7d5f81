"""Which model a folder holds: the folders that sherpa-onnx publishes, and folders with something wrong."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.sherpa.catalog import FAMILIES
from ml2021.asr.sherpa.folder import find_model, is_sherpa
from ml2021.asr.sherpa.onnx_header import read_onnx_header
from ml2021.asr.sherpa.token_table import read_tokens

ICEFALL = {"vocab_size": 4, "context_size": 2}
NEMO = {"vocab_size": 4, "subsampling_factor": 8, "pred_rnn_layers": 2, "pred_hidden": 640, "normalize_type": "NA"}
LFR = {"vocab_size": 4, "lfr_window_size": 7, "lfr_window_shift": 6}
CMVN = {"neg_mean": "0,0", "inv_stddev": "1,1"}
SENSE_VOICE = {
    **LFR,
    **CMVN,
    "model_type": "sense_voice_ctc",
    "normalize_samples": 0,
    "with_itn": 14,
    "without_itn": 15,
}
SENSE_VOICE |= {f"lang_{code}": i for i, code in enumerate(("auto", "zh", "en", "ja", "ko", "yue"))}
WHISPER = dict.fromkeys(("n_mels", "n_text_layer", "n_text_ctx", "n_text_state", "n_vocab", "sot", "eot"), 1)
WHISPER |= dict.fromkeys(("blank_id", "translate", "transcribe", "is_multilingual", "no_timestamps", "no_speech"), 1)
WHISPER |= {"sot_sequence": "1,1,1", "all_language_codes": "en,zh"}
FIRE_RED = dict.fromkeys(("num_decoder_layers", "num_head", "head_dim", "sos", "eos", "max_len"), 1)
FIRE_RED |= {"cmvn_mean": "0", "cmvn_inv_stddev": "1"}
E99 = "epoch-99-avg-1"
Metadata = Mapping[str, object]

# folder: (family, {file: its metadata}, other files), as published in sherpa-onnx's release asr-models
PUBLISHED: dict[str, tuple[str, dict[str, Metadata], list[str]]] = {
    "sherpa-onnx-zipformer-en-2023-06-26": (
        "transducer",
        {f"{role}-{E99}{end}": ICEFALL for role in ("encoder", "decoder", "joiner") for end in (".onnx", ".int8.onnx")},
        ["tokens.txt", "bpe.model", "README.md"],
    ),
    "sherpa-onnx-conformer-zh-stateless2-2023-05-23": (
        "transducer",
        {f"encoder-{E99}.int8.onnx": {}, f"decoder-{E99}.onnx": ICEFALL, f"joiner-{E99}.onnx": {}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-zipformer-vi-30M-int8-2026-02-09": (
        "transducer",
        {"encoder.int8.onnx": {"model_type": "zipformer2"}, "decoder.onnx": ICEFALL, "joiner.int8.onnx": {}},
        ["tokens.txt", "bpe.model"],
    ),
    "sherpa-onnx-streaming-zipformer-bilingual-zh-en-2023-02-20": (
        "streaming transducer",
        {
            f"encoder-{E99}.onnx": {"model_type": "zipformer", "decode_chunk_len": 32, "T": 39},
            f"decoder-{E99}.onnx": ICEFALL,
            f"joiner-{E99}.onnx": {},
        },
        ["tokens.txt", "bpe.vocab"],
    ),
    "sherpa-onnx-nemo-parakeet-tdt-0.6b-v2-int8": (
        "NeMo transducer",
        {
            "encoder.int8.onnx": {**NEMO, "model_type": "EncDecRNNTBPEModel"},
            "decoder.int8.onnx": {},
            "joiner.int8.onnx": {},
        },
        ["tokens.txt"],
    ),
    "sherpa-onnx-nemo-transducer-giga-am-v2-russian-2025-04-19": (
        "NeMo transducer",
        {"encoder.int8.onnx": {**NEMO, "is_giga_am": 1}, "decoder.onnx": {}, "joiner.onnx": {}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-whisper-tiny": (
        "Whisper",
        {
            f"tiny-{role}{end}": {**WHISPER, "model_type": "whisper-tiny"} if role == "encoder" else {}
            for role in ("encoder", "decoder")
            for end in (".onnx", ".int8.onnx")
        },
        ["tiny-tokens.txt"],
    ),
    "sherpa-onnx-whisper-distil-large-v3.5": (
        "Whisper",
        {
            "distil-large-v3.5-encoder.int8.onnx": {**WHISPER, "model_type": "whisper-distil-large-v3.5"},
            "distil-large-v3.5-decoder.int8.onnx": {},
        },
        ["distil-large-v3.5-tokens.txt"],
    ),
    "sherpa-onnx-fire-red-asr-large-zh_en-2025-02-16": (
        "FireRed ASR",
        {"encoder.int8.onnx": FIRE_RED, "decoder.int8.onnx": {}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-nemo-canary-180m-flash-en-es-de-fr-int8": (
        "Canary",
        {"encoder.int8.onnx": {**NEMO, "model_type": "EncDecMultiTaskModel", "feat_dim": 128}, "decoder.int8.onnx": {}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-cohere-transcribe-14-lang-int8-2026-04-01": (
        "Cohere Transcribe",
        {"encoder.int8.onnx": {"model_type": "cohere-transcribe-03-2026"}, "decoder.int8.onnx": {}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-paraformer-zh-2023-09-14": (
        "Paraformer",
        {name: {**LFR, **CMVN, "model_type": "paraformer"} for name in ("model.onnx", "model.int8.onnx")},
        ["tokens.txt", "am.mvn", "config.yaml"],
    ),
    "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-2024-07-17": (
        "SenseVoice",
        {"model.onnx": SENSE_VOICE, "model.int8.onnx": SENSE_VOICE},
        ["tokens.txt", "export-onnx.py", "LICENSE"],
    ),
    "sherpa-onnx-sense-voice-funasr-nano-int8-2025-12-17": (
        "Fun-ASR-Nano CTC",
        {
            "model.int8.onnx": {
                **LFR,
                "model_type": "sense_voice_ctc",
                "normalize_samples": 0,
                "comment": "Fun-ASR-Nano",
            }
        },
        ["tokens.txt"],
    ),
    "sherpa-onnx-zipformer-ctc-zh-int8-2025-07-03": (
        "Zipformer CTC",
        {"model.int8.onnx": {"model_type": "zipformer2_ctc"}},
        ["tokens.txt", "bbpe.model"],
    ),
    "icefall-asr-librispeech-zipformer-ctc-exp": (
        "Zipformer CTC",
        {"ctc-epoch-30-avg-3.onnx": {"model_type": "zipformer2_ctc"}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-nemo-ctc-en-citrinet-512": (
        "NeMo CTC",
        {name: {**NEMO, "model_type": "EncDecCTCModelBPE"} for name in ("model.onnx", "model.int8.onnx")},
        ["tokens.txt"],
    ),
    "sherpa-onnx-nemo-ctc-giga-am-v2-russian-2025-04-19": (
        "NeMo CTC",
        {"model.int8.onnx": {**NEMO, "model_type": "EncDecCTCModel", "is_giga_am": 1}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-nemo-parakeet-tdt_ctc-0.6b-ja-35000-int8": (
        "NeMo CTC",
        {"model.int8.onnx": {**NEMO, "model_type": "EncDecHybridRNNTCTCBPEModel"}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-zh-wenet-wenetspeech": (
        "WeNet CTC",
        {
            name: {"model_type": "wenet_ctc", "vocab_size": 4, "subsampling_factor": 4}
            for name in ("model.onnx", "model.int8.onnx")
        },
        ["tokens.txt"],
    ),
    "sherpa-onnx-telespeech-ctc-int8-zh-2024-06-04": (
        "TeleSpeech CTC",
        {"model.int8.onnx": {"model_type": "telespeech_ctc"}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-tdnn-yesno": (
        "TDNN",
        {f"model-epoch-14-avg-2{end}": {"model_type": "tdnn", "vocab_size": 4} for end in (".onnx", ".int8.onnx")},
        ["tokens.txt"],
    ),
    "sherpa-onnx-dolphin-base-ctc-multi-lang-int8-2025-04-02": (
        "Dolphin CTC",
        {"model.int8.onnx": {"vocab_size": 4, "mean": "0", "invstd": "1"}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-omnilingual-asr-1600-languages-300M-ctc-int8-2025-11-12": (
        "Omnilingual CTC",
        {"model.int8.onnx": {"model_type": "omnilingual-asr"}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-medasr-ctc-en-int8-2025-12-25": (
        "MedASR CTC",
        {"model.int8.onnx": {"model_type": "medasr_ctc", "vocab_size": 4}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-fire-red-asr2-ctc-zh_en-int8-2026-02-25": (
        "FireRed CTC",
        {"model.int8.onnx": {"model_type": "fire-red-asr-2-ctc", "cmvn_mean": "0", "cmvn_inv_stddev": "1"}},
        ["tokens.txt"],
    ),
    "sherpa-onnx-moonshine-tiny-en-int8": (
        "Moonshine",
        {
            name: {}
            for name in ("preprocess.onnx", "encode.int8.onnx", "uncached_decode.int8.onnx", "cached_decode.int8.onnx")
        },
        ["tokens.txt"],
    ),
    "sherpa-onnx-moonshine-tiny-en-quantized-2026-02-27": (
        "Moonshine v2",
        {},
        ["encoder_model.ort", "decoder_model_merged.ort", "tokens.txt"],
    ),
    "sherpa-onnx-funasr-nano-int8-2025-12-30": (
        "Fun-ASR-Nano",
        {
            "encoder_adaptor.int8.onnx": {"lfr_window_size": 7, "lfr_window_shift": 6, "llm_dim": 1024},
            "llm.int8.onnx": {},
            "embedding.int8.onnx": {},
        },
        [f"Qwen3-0.6B/{name}" for name in ("vocab.json", "merges.txt", "tokenizer.json")],
    ),
    "sherpa-onnx-qwen3-asr-0.6B-int8-2026-03-25": (
        "Qwen3-ASR",
        {name: {} for name in ("conv_frontend.onnx", "encoder.int8.onnx", "decoder.int8.onnx")},
        [f"tokenizer/{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json")],
    ),
}


def onnx_file(path: Path, metadata: Metadata | None = None, last_dim: int = 4) -> Path:
    """A model that only looks right: metadata, one input, one output."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "tiny",
        [info("x", TensorProto.FLOAT, [1, "T", last_dim])],
        [info("y", TensorProto.FLOAT, [1, "T", last_dim])],
        [numpy_helper.from_array(np.arange(500, dtype=np.float32), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {k: str(v) for k, v in (metadata or {}).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def tokens_file(path: Path, symbols: str = "<blk> 一 二 ▁a") -> Path:
    path.write_text("".join(f"{s} {i}\n" for i, s in enumerate(symbols.split())), encoding="utf-8")
    return path


def make(folder: Path, models: Mapping[str, Metadata], others: list[str]) -> Path:
    for name, metadata in models.items():
        onnx_file(folder / name, metadata)
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("", encoding="utf-8")
        if name.endswith("tokens.txt"):
            tokens_file(folder / name)
    return folder


@pytest.fixture
def transducer(tmp_path: Path) -> Path:
    """A transducer folder in float32 and int8."""
    return make(tmp_path / "model", *PUBLISHED["sherpa-onnx-zipformer-en-2023-06-26"][1:])


def test_every_family_has_a_published_folder() -> None:
    assert {family for family, _, _ in PUBLISHED.values()} == {family.name for family in FAMILIES}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_folders(name: str, tmp_path: Path) -> None:
    family, models, others = PUBLISHED[name]
    folder = make(tmp_path / name, models, others)
    assert is_sherpa(folder)
    model = find_model(folder)
    assert model.family.name == family
    assert set(model.files) == set(model.family.arguments)
    assert all(path.parent == folder for path in model.files.values())
    assert (model.tokens is not None) == model.family.needs_tokens
    floats = [p for p in folder.iterdir() if p.suffix == ".onnx" and "int8" not in p.name]
    assert all(p in model.files.values() for p in floats)  # rather than int8


def test_other_folders_are_not_of_sherpa(tmp_path: Path) -> None:
    assert not is_sherpa(tmp_path / "none")
    assert not is_sherpa(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"x")
    assert not is_sherpa(tmp_path)
    with pytest.raises(DataError, match="has no .onnx files"):
        find_model(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        find_model(tmp_path / "none")


@pytest.mark.parametrize("compute_type", ["int8", "float32", "default", "int8_float16"])
def test_precision_is_chosen_by_compute_type(
    transducer: Path, compute_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = find_model(transducer, compute_type).files
    assert all(("int8" in path.name) == compute_type.startswith("int8") for path in files.values())
    assert "has weights in float32, int8; using encoder-epoch-99-avg-1" in caplog.text


def test_precision_that_is_not_there_is_refused(transducer: Path) -> None:
    with pytest.raises(ConfigError, match="no weights of compute type float16, only float32, int8"):
        find_model(transducer, "float16")


def test_int8_with_a_decoder_in_float32(tmp_path: Path) -> None:
    """As most int8 folders are published."""
    folder = make(tmp_path / "m", *PUBLISHED["sherpa-onnx-zipformer-vi-30M-int8-2026-02-09"][1:])
    assert find_model(folder, "int8").files["decoder"].name == "decoder.onnx"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (f"encoder-{E99[:-1]}5.onnx", None),  # without decoder and joiner: of no use, but no second model
        ("model.onnx", "could be 2 models"),
        ("encoder-epoch-20-avg-1.onnx decoder-epoch-20-avg-1.onnx joiner-epoch-20-avg-1.onnx", "could be 2 models"),
        ("tiny-encoder.onnx tiny-decoder.onnx", "could be 2 models"),
        (f"encoder_{E99}.onnx", "for the same purpose"),
        ("silero_vad.onnx", None),
    ],
)
def test_two_models_are_refused(transducer: Path, extra: str, message: str | None) -> None:
    for name in extra.split():
        onnx_file(transducer / name, {"model_type": "zipformer2_ctc"})
    if message is None:
        assert find_model(transducer).family.name == "transducer"
    else:
        with pytest.raises(DataError, match=message) as error:
            find_model(transducer)
        assert extra.split()[0] in str(error.value) and str(transducer) in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "encoder.onnx joiner.onnx",
            "holds no whole model: it has encoder.onnx, joiner.onnx; expected encoder, decoder and",
        ),
        ("decoder.onnx", "holds no whole model"),
        ("encode.onnx preprocess.onnx", "holds no whole model"),
        ("a.onnx b.onnx", "holds no whole model"),
        (
            "encoder.onnx decoder.onnx",
            r"metadata of encoder.onnx, decoder.onnx \(model_type: none\) fit none of the families",
        ),
        ("anything.onnx", r"model_type: none\) fit none of the families Paraformer, SenseVoice"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, names: str, message: str) -> None:
    for name in names.split():
        onnx_file(tmp_path / name)
    tokens_file(tmp_path / "tokens.txt")
    with pytest.raises(DataError, match=message):
        find_model(tmp_path)


@pytest.mark.parametrize("model_type", ["vits", "ct_transformer", "kokoro", "silero-vad-v4"])
def test_models_that_recognise_nothing_are_refused(tmp_path: Path, model_type: str) -> None:
    onnx_file(tmp_path / "model.onnx", {"model_type": model_type})
    with pytest.raises(
        DataError, match=rf"model_type: {model_type}\) fit none .* not a model that sherpa-onnx recognises"
    ):
        find_model(tmp_path)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("model.onnx", {"model_type": "zipformer2_ctc", "decode_chunk_len": 32}),
        ("model.onnx", {**NEMO, "model_type": "EncDecCTCModel", "cache_last_channel_dim1": 17}),
        ("model.onnx", {"model_type": "t-one"}),
        ("encoder.onnx decoder.onnx", {**LFR, "model_type": "paraformer", "decoder_kernel_size": 11}),
    ],
)
def test_other_models_for_streams_are_refused(tmp_path: Path, name: str, metadata: Metadata) -> None:
    for n in name.split():
        onnx_file(tmp_path / n, metadata)
    tokens_file(tmp_path / "tokens.txt")
    with pytest.raises(DataError, match="holds a model for streams .* take a non-streaming model"):
        find_model(tmp_path)


def test_missing_metadata_are_named(tmp_path: Path) -> None:
    onnx_file(tmp_path / "model.onnx", {**LFR, "model_type": "paraformer", "neg_mean": "0"})
    tokens_file(tmp_path / "tokens.txt")
    with pytest.raises(DataError, match="lacks the metadata inv_stddev that sherpa-onnx needs"):
        find_model(tmp_path)


def test_missing_tokens_are_named(transducer: Path, tmp_path: Path) -> None:
    (transducer / "tokens.txt").unlink()
    with pytest.raises(DataError, match="has no tokens.txt: copy it"):
        find_model(transducer)
    folder = make(tmp_path / "nano", *PUBLISHED["sherpa-onnx-funasr-nano-int8-2025-12-30"][1:])
    (folder / "Qwen3-0.6B" / "merges.txt").unlink()
    with pytest.raises(DataError, match="no folder with the tokenizer of Fun-ASR-Nano"):
        find_model(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_files_cut_short_are_refused(transducer: Path, share: float) -> None:
    path = transducer / f"encoder-{E99}.onnx"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=f"encoder-{E99}.onnx is (empty|not a whole ONNX file).*again"):
        find_model(transducer)


@pytest.mark.parametrize(
    "content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:1", b"<html>404</html>", b"PK\3\4"]
)
def test_files_of_another_kind_are_refused(transducer: Path, content: bytes) -> None:
    (transducer / f"joiner-{E99}.onnx").write_bytes(content)
    with pytest.raises(DataError, match=f"joiner-{E99}.onnx is (a pointer of Git LFS|not a whole ONNX file)"):
        find_model(transducer)


def test_headers_equal_what_onnx_reads(tmp_path: Path) -> None:
    header = read_onnx_header(onnx_file(tmp_path / "a.onnx", {"k": "值", "n": "1"}, last_dim=300))
    assert header.metadata == {"k": "值", "n": "1"}
    assert header.last_dims == {"y": 300}


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_raise_nothing_but_data_errors(transducer: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path = transducer / f"decoder-{E99}.onnx"
    content = bytearray(path.read_bytes())
    for at in rng.integers(len(content), size=5):
        content[at] = rng.integers(256)
    path.write_bytes(content)
    with contextlib.suppress(DataError):
        find_model(transducer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<blk> 0\n一 1\n二 2\n", "has 3 tokens, and the model has 4 outputs: it is the tokens.txt of another model"),
        ("".join(f"x{i} {i}\n" for i in range(500)), "has 500 tokens, and the model has 4 outputs"),
        ("<blk> 0\na b 1\n", r"tokens.txt, line 2: 'a b 1' is not a token and its id"),
        ("<blk> 0\na x\n", r"line 2: 'a x' is not a token"),
        ("\n", "tokens.txt is empty"),
        ("", "tokens.txt is empty"),
    ],
)
def test_tokens_of_another_model_are_refused(transducer: Path, text: str, message: str) -> None:
    (transducer / "tokens.txt").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_tokens(find_model(transducer))


def test_tokens_that_are_read_as_sherpa_reads_them(transducer: Path) -> None:
    (transducer / "tokens.txt").write_bytes("<blk> 0\r\n\u3000 1\r\n 2\r\n▁A 3\r\n#0 4\r\n#1 5\r\n\r\n".encode())
    tokens = read_tokens(find_model(transducer))
    assert tokens is not None and tokens.symbols == {"<blk>", "\u3000", " ", "▁A", "#0", "#1"}
    assert tokens.case == "upper" and tokens.unit == "bpe"


def test_a_file_that_is_not_utf8_is_refused(transducer: Path) -> None:
    (transducer / "tokens.txt").write_bytes(b"<blk> 0\n" + "你 1\n".encode("gbk"))
    with pytest.raises(DataError, match="tokens.txt is not UTF-8"):
        read_tokens(find_model(transducer))


def test_joiner_of_another_model_is_refused(transducer: Path) -> None:
    onnx_file(transducer / f"joiner-{E99}.onnx", {}, last_dim=7)
    with pytest.raises(DataError, match="the joiner has 7 outputs, and the decoder says that there are 4 tokens"):
        read_tokens(find_model(transducer))


def test_ctc_without_blank_and_whisper_without_base64_are_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "ctc", *PUBLISHED["sherpa-onnx-zipformer-ctc-zh-int8-2025-07-03"][1:])
    tokens_file(folder / "tokens.txt", "a b c d")
    with pytest.raises(DataError, match="has none of <blk>, <eps>, <blank>"):
        read_tokens(find_model(folder))
    folder = make(tmp_path / "whisper", *PUBLISHED["sherpa-onnx-whisper-tiny"][1:])
    with pytest.raises(DataError, match="'<blk>' is not base64"):
        read_tokens(find_model(folder))
