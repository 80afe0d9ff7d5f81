"""The recogniser as ONNX files for sherpa-onnx's OfflineRecognizer.from_transducer, and as icefall's pretrained.pt.

    python -m ml2021.asr.export --exp-dir exp/mini/asr --out-dir my-model

A causal Zipformer is exported a second time, for OnlineRecognizer.from_transducer (see export_streaming).

Legend: N batch, T input frames, T' encoder frames, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn

from lhotse_prep.errors import DataError
from lhotse_prep.stages import run_main, whole_file, write_text
from lhotse_prep.tokens import TokenTable
from ml2021.asr.load import load_model
from ml2021.asr.model import NUM_FEATURES, AsrModel

OPSET = 17
TOLERANCE = 1e-3  # largest difference allowed between an output of PyTorch and of ONNX
logger = logging.getLogger(__name__)


class OnnxEncoder(nn.Module):
    """Encoder, and the joiner's projection of its output."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, 80), (N,) int64 -> (N, T', J), (N,) int64."""
        encoder_out, lens = self.model.forward_encoder(x, x_lens)
        return self.model.joiner.encoder_proj(encoder_out), lens


class OnnxDecoder(nn.Module):
    """Prediction network, and the joiner's projection of its output."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.decoder, self.decoder_proj = model.decoder, model.joiner.decoder_proj

    def forward(self, y: Tensor) -> Tensor:
        """(N, context_size) int64, -1 where there is no token yet -> (N, J)."""
        return self.decoder_proj(self.decoder(y, need_pad=False)).squeeze(1)


class OnnxJoiner(nn.Module):
    """What the two projections leave of the joiner."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.joiner = model.joiner

    def forward(self, encoder_out: Tensor, decoder_out: Tensor) -> Tensor:
        """(N, J), (N, J) -> logits (N, V)."""
        return self.joiner(encoder_out, decoder_out)


@dataclass(frozen=True)
class Network:
    """One of the three files."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]  # names, in the order that sherpa-onnx feeds them
    outputs: tuple[str, ...]
    free_axes: dict[str, dict[int, str]]  # of inputs and outputs: the axes of any length
    examples: Sequence[tuple[Tensor, ...]]  # of several lengths; the first is traced, all are compared


def export_onnx(model: AsrModel, tokens: TokenTable, out_dir: Path) -> None:
    """Write encoder.onnx, decoder.onnx, joiner.onnx, their .int8.onnx, tokens.txt and bpe.vocab, and hold the networks
    in float32 against the model.

    Args:
      model: in evaluation mode, on the CPU.
      tokens: its tokens.
      out_dir: made where it is not there.
    Raises:
      DataError: a network does not compute in ONNX what it computes in PyTorch.
    """
    metadata = _metadata(model)
    write_networks([_encoder(model), *decoder_and_joiner(model)], [metadata] * 3, tokens, out_dir)


def write_networks(
    networks: Sequence[Network], metadata: Sequence[Mapping[str, str]], tokens: TokenTable, out_dir: Path
) -> None:
    """Write a file of each network with its metadata, the same in int8, and what sherpa-onnx wants of the tokens."""
    for network, own_metadata in zip(networks, metadata, strict=True):
        path = out_dir / f"{network.name}.onnx"
        _write_network(path, network, own_metadata)
        worst = largest_difference(path, network)
        if not worst <= TOLERANCE:
            raise DataError(
                f"{path} differs from the model by {worst:.2g}, limit {TOLERANCE:g}; are its weights finite?"
            )
        size = write_int8(path)
        kilobytes = path.stat().st_size // 1024
        logger.info("%s: %d kB, differs from the model by %.0e; int8 %d kB", path, kilobytes, worst, size // 1024)
    write_text(out_dir / "tokens.txt", "".join(f"{symbol} {i}\n" for i, symbol in enumerate(tokens.symbols)))
    write_text(out_dir / "bpe.vocab", bpe_vocab(tokens))


def write_int8(path: Path) -> int:
    """Write NAME.int8.onnx beside NAME.onnx: weights of matrix products in 8 bits, activations as they come.

    Returns:
      Its size in bytes.
    """
    int8 = path.with_suffix(".int8.onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises steps that dynamic quantisation does without
    try:
        quantize_dynamic(str(path), str(int8), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    finally:
        root.setLevel(level)
    return int8.stat().st_size


def bpe_vocab(tokens: TokenTable) -> str:
    """`piece<tab>score` lines of the BPE, by which sherpa-onnx splits hotwords (modeling unit cjkchar+bpe, or bpe)."""
    bpe = tokens.bpe
    return "".join(f"{bpe.id_to_piece(i)}\t{bpe.get_score(i):g}\n" for i in range(bpe.get_piece_size()))


def write_pretrained(model: AsrModel, out_dir: Path) -> None:
    """Write pretrained.pt as icefall has it: {"model": state_dict}, weights alone."""
    with whole_file(out_dir / "pretrained.pt", "wb") as f:
        torch.save({"model": model.state_dict()}, f)


def largest_difference(path: Path, network: Network) -> float:
    """Between the file's outputs and the module's, over the examples; inf where a shape differs, NaN where one is."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = [0.0]
    for example in network.examples:
        feed = {name: x.numpy() for name, x in zip(network.inputs, example, strict=True)}
        found = session.run(list(network.outputs), feed)
        with torch.no_grad():
            wanted = network.module(*example)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for a, b in zip(found, wanted, strict=True):
            same_shape = a.shape == tuple(b.shape)
            differences.append(float(np.abs(a - b.numpy()).max(initial=0.0)) if same_shape else float("inf"))
    return float(np.max(differences))  # NaN where one is


def _encoder(model: AsrModel) -> Network:
    generator = torch.Generator().manual_seed(0)
    examples = []
    for lens in ([121, 90], [1], [6], [403], [57, 57, 8]):
        log_mels = 4 * torch.randn(len(lens), max(lens), NUM_FEATURES, generator=generator) - 8
        examples.append((log_mels, torch.tensor(lens)))
    axes = {
        "x": {0: "N", 1: "T"},
        "x_lens": {0: "N"},
        "encoder_out": {0: "N", 1: "T_out"},
        "encoder_out_lens": {0: "N"},
    }
    names = ("x", "x_lens"), ("encoder_out", "encoder_out_lens")
    return Network("encoder", OnnxEncoder(model).eval(), *names, axes, examples)


def decoder_and_joiner(model: AsrModel) -> tuple[Network, Network]:
    """The two networks that a stream and a whole utterance share."""
    return _decoder(model), _joiner(model)


def _decoder(model: AsrModel) -> Network:
    size = model.decoder.context_size
    start = torch.tensor([[-1] * (size - 1) + [model.decoder.blank_id]])
    contexts = torch.randint(model.vocab_size, (4, size), generator=torch.Generator().manual_seed(0))
    examples = [(torch.cat([start, contexts]),), (start,), (contexts,)]
    axes = {"y": {0: "N"}, "decoder_out": {0: "N"}}
    return Network("decoder", OnnxDecoder(model).eval(), ("y",), ("decoder_out",), axes, examples)


def _joiner(model: AsrModel) -> Network:
    generator = torch.Generator().manual_seed(0)
    dim = model.joiner.output_linear.in_features
    examples = [tuple(torch.randn(2, n, dim, generator=generator)) for n in (2, 1, 7)]
    axes = {"encoder_out": {0: "N"}, "decoder_out": {0: "N"}, "logit": {0: "N"}}
    return Network("joiner", OnnxJoiner(model).eval(), ("encoder_out", "decoder_out"), ("logit",), axes, examples)


def _write_network(path: Path, network: Network, metadata: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter that traces suits this model and is many times as fast as the one
        # that torch recommends in its stead.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.module,
            network.examples[0],
            str(path),
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_axes=network.free_axes,
            opset_version=OPSET,
            dynamo=False,
        )
    content = onnx.load(str(path))
    onnx.helper.set_model_props(content, dict(metadata))
    onnx.checker.check_model(content)
    with whole_file(path, "wb") as f:
        f.write(content.SerializeToString())


def _metadata(model: AsrModel) -> dict[str, str]:
    """What sherpa-onnx asks of the files, the same in all three."""
    return {
        "model_type": "zipformer2",
        "vocab_size": str(model.vocab_size),
        "context_size": str(model.decoder.context_size),
        "joiner_dim": str(model.joiner.output_linear.in_features),
        "comment": "ml2021 transducer; 80 log-mel bins of 16 kHz audio, 25 output frames a second",
    }


def main(argv: Sequence[str]) -> None:
    """Export the recogniser of an experiment folder for sherpa-onnx."""
    parser = argparse.ArgumentParser(prog="python -m ml2021.asr.export", description=main.__doc__, allow_abbrev=False)
    parser.add_argument("--exp-dir", type=Path, required=True, help="folder of the trained recogniser, as exp/mini/asr")
    parser.add_argument("--out-dir", type=Path, required=True, help="where the files go")
    args = parser.parse_args(argv)
    from ml2021.asr.export_streaming import can_stream, export_streaming  # which imports this module

    model, tokens, _ = load_model(args.exp_dir)
    export_onnx(model, tokens, args.out_dir)
    if can_stream(model):
        export_streaming(model, tokens, args.out_dir / "streaming")
    write_pretrained(model, args.out_dir)


if __name__ == "__main__":
    run_main(main)
