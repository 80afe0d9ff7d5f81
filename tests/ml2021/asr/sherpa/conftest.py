"""Tiny ONNX models in the layouts of sherpa-onnx's families, whose outputs are known.

Those that hear compare the features of low and high tones with a threshold: a low tone is the first token, a high one
the second, silence is blank. So the true times of the words are those of the tones.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SAMPLE_RATE = 16000
LOW, HIGH = 300.0, 4000.0  # Hz of tones
THRESHOLD = -7.0  # log-mel energy between silence and a tone
SHARPNESS = 5.0  # of the transducer's logits
OF_INTEGERS = 2 * np.log(32768)  # added to log-mel energies of samples in -32768..32767


def tones(pattern: Sequence[tuple[float, float, float]], duration: float) -> NDArray[np.float32]:
    """Faint noise with tones at (begin, end, Hz), faded so that they do not click."""
    samples = np.random.default_rng(0).normal(0, 1e-4, int(duration * SAMPLE_RATE))
    t = np.arange(len(samples)) / SAMPLE_RATE
    for begin, end, frequency in pattern:
        inside = (t >= begin) & (t < end)
        fade = np.clip(np.minimum(t - begin, end - t)[inside] / 0.03, 0, 1)
        samples[inside] += 0.5 * fade * np.sin(2 * np.pi * frequency * t[inside])
    return samples.astype(np.float32)


def value(name: str, shape: Sequence[object], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def constant(name: str, array: object, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(array, dtype=dtype), name)


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: Sequence[onnx.TensorProto] = (),
    metadata: Mapping[str, object] | None = None,
) -> Path:
    graph = helper.make_graph(list(nodes), "tiny", list(inputs), list(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {k: str(v) for k, v in (metadata or {}).items()})
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def hearing_nodes(source: str) -> list[onnx.NodeProto]:
    """Nodes from features (N, T, bins) to "energies" (N, T / step, 2) and "blank" (N, T / step, 1)."""
    return [
        helper.make_node("Slice", [source, "from", "to", "time_axis", "step"], ["sampled"]),
        helper.make_node("Slice", ["sampled", "from", "low_end", "bin_axis"], ["low_bins"]),
        helper.make_node("Slice", ["sampled", "high_begin", "bins", "bin_axis"], ["high_bins"]),
        helper.make_node("ReduceMax", ["low_bins"], ["low"], axes=[2], keepdims=1),
        helper.make_node("ReduceMax", ["high_bins"], ["high"], axes=[2], keepdims=1),
        helper.make_node("Concat", ["low", "high"], ["energies"], axis=2),
        helper.make_node("Mul", ["low", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "threshold"], ["blank"]),
    ]


def hearing_constants(step: int, bins: int, threshold: float = THRESHOLD) -> list[onnx.TensorProto]:
    numbers = {"from": 0, "to": 1 << 30, "time_axis": 1, "step": step, "bin_axis": 2}
    numbers |= {"low_end": bins // 4, "high_begin": bins // 2, "bins": bins}
    integers = [constant(name, [number], np.int64) for name, number in numbers.items()]
    return [*integers, constant("zero", 0.0), constant("threshold", threshold)]


def write_tokens(path: Path, symbols: Sequence[str]) -> Path:
    path.write_text("".join(f"{symbol} {i}\n" for i, symbol in enumerate(symbols)), encoding="utf-8")
    return path


def ctc_model(
    path: Path, metadata: Mapping[str, object], transposed: bool = False, threshold: float = THRESHOLD
) -> Path:
    """A CTC model of [blank, low, high] that hears tones."""
    bins, step = 80, 4
    nodes = [helper.make_node("Transpose", ["x"], ["features"], perm=[0, 2, 1])] if transposed else []
    nodes += hearing_nodes("features" if transposed else "x")
    nodes += [
        helper.make_node("Concat", ["blank", "energies"], ["log_probs"], axis=2),
        helper.make_node("Add", ["x_lens", "round"], ["rounded"]),
        helper.make_node("Div", ["rounded", "step"], ["log_probs_len"]),
    ]
    shape = ["N", bins, "T"] if transposed else ["N", "T", bins]
    return write(
        path,
        nodes,
        [value("x", shape), value("x_lens", ["N"], TensorProto.INT64)],
        [value("log_probs", ["N", "U", 3]), value("log_probs_len", ["N"], TensorProto.INT64)],
        [*hearing_constants(step, bins, threshold), constant("round", [step - 1], np.int64)],
        metadata,
    )


def transducer(folder: Path, symbols: Sequence[str]) -> Path:
    """A transducer of icefall's layout that hears tones: [blank, low, high, also low but a little worse, ...]."""
    size = len(symbols)
    encoder = [*hearing_nodes("x"), helper.make_node("Identity", ["energies"], ["encoder_out"])]
    encoder += [
        helper.make_node("Add", ["x_lens", "round"], ["rounded"]),
        helper.make_node("Div", ["rounded", "step"], ["encoder_out_lens"]),
    ]
    unused = [n for n in encoder if n.output[0] in ("nothing", "blank")]
    meta = {"model_type": "zipformer2", "comment": "tiny"}
    write(
        folder / "encoder-epoch-9-avg-1.onnx",
        [n for n in encoder if n not in unused],
        [value("x", ["N", "T", 80]), value("x_lens", ["N"], TensorProto.INT64)],
        [value("encoder_out", ["N", "U", 2]), value("encoder_out_lens", ["N"], TensorProto.INT64)],
        [*hearing_constants(4, 80), constant("round", [3], np.int64)],
        meta,
    )
    # decoder_out (N, size): a large number at the last token, which is not emitted twice in a row
    table = np.eye(size, dtype=np.float32) * 100
    table[0] = 0
    write(
        folder / "decoder-epoch-9-avg-1.onnx",
        [
            helper.make_node("Slice", ["y", "last", "end", "axis"], ["last_token"]),
            helper.make_node("Squeeze", ["last_token", "axis"], ["token"]),
            helper.make_node("Gather", ["table", "token"], ["decoder_out"], axis=0),
        ],
        [value("y", ["N", 2], TensorProto.INT64)],
        [value("decoder_out", ["N", size])],
        [constant("table", table), *(constant(n, [v], np.int64) for n, v in (("last", 1), ("end", 2), ("axis", 1)))],
        {"vocab_size": size, "context_size": 2},
    )
    # logits: threshold for blank; energies for the tokens; tokens of the same tone hide one another
    mix = np.zeros((2, size), dtype=np.float32)
    bias = np.full(size, 0.0, dtype=np.float32)
    bias[0] = SHARPNESS * THRESHOLD
    hidden = np.zeros((size, size), dtype=np.float32)
    for i in range(1, size):
        tone = (i - 1) % 2
        mix[tone, i] = SHARPNESS
        bias[i] = -0.3 * ((i - 1) // 2)
        for j in range(1, size):
            hidden[j, i] = -1.0 if (j - 1) % 2 == tone else 0.0
    write(
        folder / "joiner-epoch-9-avg-1.onnx",
        [
            helper.make_node("MatMul", ["encoder_out", "mix"], ["mixed"]),
            helper.make_node("MatMul", ["decoder_out", "hidden"], ["penalty"]),
            helper.make_node("Add", ["mixed", "penalty"], ["sum"]),
            helper.make_node("Add", ["sum", "bias"], ["logit"]),
        ],
        [value("encoder_out", ["N", 2]), value("decoder_out", ["N", size])],
        [value("logit", ["N", size])],
        [constant("mix", mix), constant("hidden", hidden), constant("bias", bias)],
        meta,
    )
    write_tokens(folder / "tokens.txt", symbols)
    return folder


def sense_voice(folder: Path, symbols: Sequence[str] = ("<unk>", "你", "▁hi")) -> Path:
    """A SenseVoice that hears tones, after its four marks."""
    marks = ("<|zh|>", "<|NEUTRAL|>", "<|Speech|>", "<|woitn|>")
    threshold = THRESHOLD + OF_INTEGERS
    prefix = np.full((1, 4, 7), -100.0)
    prefix[0, range(4), range(3, 7)] = 100.0
    nodes = [
        *hearing_nodes("x"),
        helper.make_node("Mul", ["blank", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "never"], ["marks"]),
        helper.make_node("Concat", ["blank", "energies", "marks"], ["heard"], axis=2),
        helper.make_node("Slice", ["zeros", "from", "step", "time_axis"], ["first"]),
        helper.make_node("Add", ["first", "prefix"], ["begin"]),
        helper.make_node("Concat", ["begin", "heard"], ["logits"], axis=1),
    ]
    lfr = {"lfr_window_size": 7, "lfr_window_shift": 6, "normalize_samples": 0, "vocab_size": 7}
    meta = {"model_type": "sense_voice_ctc", "with_itn": 14, "without_itn": 15, **lfr}
    meta |= {f"lang_{code}": i for i, code in enumerate(("auto", "zh", "en", "ja", "ko", "yue"))}
    meta |= {"neg_mean": ",".join(["0"] * 560), "inv_stddev": ",".join(["1"] * 560)}
    kinds = {"x_length": TensorProto.INT32, "language": TensorProto.INT32, "text_norm": TensorProto.INT32}
    write(
        folder / "model.int8.onnx",
        nodes,
        [value("x", ["N", "T", 560]), *(value(name, ["N"], kind) for name, kind in kinds.items())],
        [value("logits", ["N", "U", 7])],
        [
            *hearing_constants(1, 80, threshold),
            constant("never", np.full((1, 1, 4), -100.0)),
            constant("prefix", prefix),
        ],
        meta,
    )
    write_tokens(folder / "tokens.txt", [*symbols, *marks])
    return folder


def paraformer(folder: Path) -> Path:
    """A Paraformer that always says 你 at 0.5 s, hello at 1.5 s and 好 at 2 s."""
    symbols = ["<blank>", "<s>", "</s>", "你", "hel@@", "lo", "好"]
    table = np.eye(7)[[3, 4, 5, 6, 2]][None]
    peaks = np.zeros((1, 150))
    peaks[0, [25, 75, 85, 100, 120]] = 1.0
    nodes = [
        helper.make_node("Slice", ["speech", "from", "one", "time_axis"], ["first_frame"]),
        helper.make_node("Slice", ["first_frame", "from", "one", "bin_axis"], ["first"]),
        helper.make_node("Mul", ["first", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "table"], ["logits"]),
        helper.make_node("Squeeze", ["zeros", "bin_axis"], ["column"]),
        helper.make_node("Add", ["column", "peaks"], ["us_alphas"]),
        helper.make_node("Identity", ["us_alphas"], ["us_cif_peak"]),
        helper.make_node("Identity", ["speech_lengths"], ["token_num"]),
    ]
    integers = {"from": 0, "one": 1, "time_axis": 1, "bin_axis": 2}
    lfr = {"lfr_window_size": 7, "lfr_window_shift": 6, "vocab_size": 7}
    zeros, ones = ",".join(["0"] * 560), ",".join(["1"] * 560)
    write(
        folder / "model.onnx",
        nodes,
        [value("speech", ["N", "T", 560]), value("speech_lengths", ["N"], TensorProto.INT32)],
        [
            value("logits", ["N", 5, 7]),
            value("token_num", ["N"], TensorProto.INT32),
            value("us_alphas", ["N", 150]),
            value("us_cif_peak", ["N", 150]),
        ],
        [
            *(constant(name, [number], np.int64) for name, number in integers.items()),
            constant("zero", 0.0),
            constant("table", table),
            constant("peaks", peaks),
        ],
        {"model_type": "paraformer", "neg_mean": zeros, "inv_stddev": ones, **lfr},
    )
    write_tokens(folder / "tokens.txt", symbols)
    return folder


def autoregressive_decoder(path: Path, table: NDArray[np.float32], cache_dims: int) -> Path:
    """A decoder whose logits depend on the position alone: table (positions, V)."""
    size = table.shape[1]
    caches = [value(name, ["L", "N", *"CSD"[: cache_dims - 2]]) for name in ("self_k", "self_v")]
    out_caches = [value(f"out_{c.name}", ["L", "N", *"CSD"[: cache_dims - 2]]) for c in caches]
    return write(
        path,
        [
            helper.make_node("Shape", ["tokens"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["num_tokens"], axis=0),
            helper.make_node("Range", ["nought", "num_tokens", "one"], ["range"]),
            helper.make_node("Add", ["range", "offset"], ["positions"]),
            helper.make_node("Gather", ["table", "positions"], ["rows"], axis=0),
            helper.make_node("Unsqueeze", ["rows", "first_axis"], ["logits"]),
            helper.make_node("Identity", ["self_k"], ["out_self_k"]),
            helper.make_node("Identity", ["self_v"], ["out_self_v"]),
        ],
        [
            value("tokens", ["N", "n"], TensorProto.INT64),
            *caches,
            value("cross_k", ["L", "N", "T", 1]),
            value("cross_v", ["L", "N", "T", 1]),
            value("offset", [1], TensorProto.INT64),
        ],
        [value("logits", ["N", "n", size]), *out_caches],
        [
            constant("one", 1, np.int64),
            constant("nought", 0, np.int64),
            constant("first_axis", [0], np.int64),
            constant("table", table),
        ],
    )


def _pair_encoder(path: Path, name: str, shape: Sequence[object], has_length: bool, meta: Mapping[str, object]) -> None:
    lengths = [value("x_len", ["N"], TensorProto.INT64)] if has_length else []
    write(
        path,
        [
            helper.make_node("ReduceMean", [name], ["mean"], axes=[0, 1, 2], keepdims=1),
            helper.make_node("Unsqueeze", ["mean", "last_axis"], ["cross_k"]),
            helper.make_node("Identity", ["cross_k"], ["cross_v"]),
        ],
        [value(name, shape), *lengths],
        [value("cross_k", [1, 1, 1, 1]), value("cross_v", [1, 1, 1, 1])],
        [constant("last_axis", [3], np.int64)],
        meta,
    )


def whisper(folder: Path, detected: str = "zh") -> Path:
    """A Whisper that always detects one language, says `hello 你` from 0 to 1 s and `好` (two tokens) from 2 to 3 s."""
    texts = [b" hello", "你".encode(), "好".encode()[:2], "好".encode()[2:], b" ", b"a", b"b", b"c", b"d", b"e"]
    eot, sot, english, chinese, translate, transcribe, no_speech, no_timestamps = range(10, 18)
    stamp = no_timestamps + 1
    language = {"en": english, "zh": chinese}[detected]
    said = {0: language, 2: stamp, 3: 0, 4: 1, 5: stamp + 50, 6: stamp + 100, 7: 2, 8: 3, 9: stamp + 150, 10: eot}
    table = np.zeros((64, stamp + 1501), dtype=np.float32)
    for position, token in said.items():
        table[position, token] = 50.0
    meta = {"model_type": "whisper-tiny", "n_mels": 80, "n_text_layer": 1, "n_text_ctx": 64, "n_text_state": 1}
    meta |= {"n_vocab": stamp + 1501, "sot": sot, "eot": eot, "blank_id": 4, "translate": translate}
    meta |= {"transcribe": transcribe, "is_multilingual": 1, "no_timestamps": no_timestamps, "no_speech": no_speech}
    meta |= {"sot_sequence": f"{sot},{english},{transcribe}", "all_language_codes": "en,zh"}
    meta |= {"all_language_tokens": f"{english},{chinese}"}
    _pair_encoder(folder / "tiny-encoder.onnx", "mel", [1, 80, "T"], False, meta)
    autoregressive_decoder(folder / "tiny-decoder.onnx", table, 4)
    lines = [f"{base64.b64encode(text).decode()} {i}\n" for i, text in enumerate(texts)]
    (folder / "tiny-tokens.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def fire_red(folder: Path) -> Path:
    """A FireRed ASR that always says 你好 OK 好."""
    symbols = ["<blank>", "<unk>", "<pad>", "<sos>", "<eos>", "你", "好", "▁OK"]
    table = np.zeros((64, len(symbols)), dtype=np.float32)
    for position, token in enumerate([5, 6, 7, 6, 4]):
        table[position, token] = 50.0
    meta = {"num_decoder_layers": 1, "num_head": 1, "head_dim": 1, "sos": 3, "eos": 4, "max_len": 64}
    meta |= {"cmvn_mean": ",".join(["0"] * 80), "cmvn_inv_stddev": ",".join(["1"] * 80)}
    _pair_encoder(folder / "encoder.int8.onnx", "x", ["N", "T", 80], True, meta)
    autoregressive_decoder(folder / "decoder.int8.onnx", table, 5)
    write_tokens(folder / "tokens.txt", symbols)
    return folder


def zipformer_ctc(folder: Path, symbols: Sequence[str] = ("<blk>", "你", "▁HI")) -> Path:
    """A CTC model of icefall that hears tones."""
    ctc_model(folder / "model.onnx", {"model_type": "zipformer2_ctc"})
    write_tokens(folder / "tokens.txt", symbols)
    return folder


def nemo_ctc(folder: Path) -> Path:
    """A CTC model of NeMo, whose features have the time last."""
    meta = {"model_type": "EncDecCTCModelBPE", "vocab_size": 3, "subsampling_factor": 4, "normalize_type": "NA"}
    ctc_model(folder / "model.onnx", meta, transposed=True)
    write_tokens(folder / "tokens.txt", ["<blk>", "你", "▁hi"])
    return folder


def wenet_ctc(folder: Path) -> Path:
    """A CTC model of WeNet, which takes samples as integers."""
    meta = {"model_type": "wenet_ctc", "vocab_size": 3, "subsampling_factor": 4}
    ctc_model(folder / "model.onnx", meta, threshold=THRESHOLD + OF_INTEGERS)
    write_tokens(folder / "tokens.txt", ["<blank>", "你", "▁hi"])
    return folder


def fire_red_ctc(folder: Path) -> Path:
    """A CTC model of FireRed, which takes samples as integers."""
    meta = {"model_type": "fire-red-asr-2-ctc", "subsampling_factor": 4}
    meta |= {"cmvn_mean": ",".join(["0"] * 80), "cmvn_inv_stddev": ",".join(["1"] * 80)}
    ctc_model(folder / "model.int8.onnx", meta, threshold=THRESHOLD + OF_INTEGERS)
    write_tokens(folder / "tokens.txt", ["<blank>", "你", "▁hi"])
    return folder


@pytest.fixture
def tiny() -> SimpleNamespace:
    """The functions of this file that tests call."""
    makers = (transducer, zipformer_ctc, nemo_ctc, wenet_ctc, fire_red_ctc, sense_voice, paraformer, whisper, fire_red)
    helpers = (tones, ctc_model, write_tokens)
    return SimpleNamespace(LOW=LOW, HIGH=HIGH, **{f.__name__: f for f in (*makers, *helpers)})
