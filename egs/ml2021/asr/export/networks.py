"""Networks as ONNX files in float32 and int8, each held against the module that it was made of; and those that a stream
and a whole utterance share.

Legend: N batch, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

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

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_text
from ml2021.asr.model.recogniser import AsrModel

OPSET = 17

TOLERANCE = 1e-3  # largest difference allowed between an output of PyTorch and of ONNX

logger = logging.getLogger(__name__)


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
