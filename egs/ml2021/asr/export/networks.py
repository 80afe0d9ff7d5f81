"""Write networks as ONNX files in float32 and int8, and check each against its PyTorch module.

The decoder and the joiner are here too: the exports for utterances and for streams share them.

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

from lhotse_prep.tokens.lang import tokens_txt
from lhotse_prep.tokens.special_tokens import SPACE_NAMES, UNK
from lhotse_prep.tokens.token_table import WORD_START, TokenTable
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_text
from ml2021.asr.model.recogniser import AsrModel

OPSET = 17

TOLERANCE = 1e-3  # largest absolute difference allowed between an output in PyTorch and in ONNX

logger = logging.getLogger(__name__)


class OnnxDecoder(nn.Module):
    """The prediction network and the joiner's projection of its output."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.decoder, self.decoder_proj = model.decoder, model.joiner.decoder_proj

    def forward(self, y: Tensor) -> Tensor:
        """Map the last tokens, (N, context_size) int64 with -1 before the first token, to (N, J)."""
        decoder_out: Tensor = self.decoder_proj(self.decoder(y, need_pad=False))
        return decoder_out.squeeze(1)


class OnnxJoiner(nn.Module):
    """The joiner without its two projections, which the encoder and the decoder files contain."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.joiner = model.joiner

    def forward(self, encoder_out: Tensor, decoder_out: Tensor) -> Tensor:
        """Map encoder_out (N, J) and decoder_out (N, J) to logits (N, V)."""
        logits: Tensor = self.joiner(encoder_out, decoder_out)
        return logits


@dataclass(frozen=True)
class Network:
    """A network to export: one of the three ONNX files."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]  # names, in the order that sherpa-onnx feeds them
    outputs: tuple[str, ...]
    free_axes: dict[str, dict[int, str]]  # {input or output: {axis of variable length: its name}}
    examples: Sequence[tuple[Tensor, ...]]  # inputs of several lengths; the first is traced, all are compared


def write_networks(
    networks: Sequence[Network], metadata: Sequence[Mapping[str, str]], tokens: TokenTable, out_dir: Path
) -> None:
    """Write NAME.onnx and NAME.int8.onnx for each network, and the tokens.txt and bpe.vocab that sherpa-onnx reads.

    Args:
      networks: encoder, decoder, joiner.
      metadata: the key-value pairs to store in each file, in the order of the networks.
      tokens: the model's tokens.
      out_dir: created if missing.
    Raises:
      DataError: a float32 file differs from its module by more than TOLERANCE.
    """
    for network, properties in zip(networks, metadata, strict=True):
        path = out_dir / f"{network.name}.onnx"
        _write_network(path, network, properties)
        worst = largest_difference(path, network)
        if not worst <= TOLERANCE:
            raise DataError(
                f"{path} differs from the model by {worst:.2g}, limit {TOLERANCE:g}; check that its weights are finite"
            )
        size = write_int8(path)
        kilobytes = path.stat().st_size // 1024
        logger.info("%s: %d kB, differs from the model by %.0e; int8 %d kB", path, kilobytes, worst, size // 1024)
    write_text(out_dir / "tokens.txt", _sherpa_tokens(tokens))
    write_text(out_dir / "bpe.vocab", bpe_vocab(tokens))


def write_int8(path: Path) -> int:
    """Write NAME.int8.onnx beside NAME.onnx: 8-bit weights in matrix products, activations quantised at run time.

    Returns:
      The size of the new file in bytes.
    """
    int8 = path.with_suffix(".int8.onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime recommends steps that dynamic quantisation does not need
    try:
        quantize_dynamic(str(path), str(int8), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    finally:
        root.setLevel(level)
    return int8.stat().st_size


def _sherpa_tokens(tokens: TokenTable) -> str:
    """The content of tokens.txt; the unknown token and the space get the names by which sherpa-onnx knows them."""
    names = {tokens.special.unk: UNK} | {tokens.ids[s]: WORD_START for s in SPACE_NAMES if s in tokens.ids}
    return tokens_txt([names.get(i, symbol) for i, symbol in enumerate(tokens.symbols)])


def bpe_vocab(tokens: TokenTable) -> str:
    """The BPE pieces as `piece<tab>score` lines, which sherpa-onnx needs to split hotwords (cjkchar+bpe or bpe).

    Nothing for a vocabulary of characters.
    """
    bpe = tokens.bpe
    if bpe is None:
        return ""
    return "".join(f"{bpe.id_to_piece(i)}\t{bpe.get_score(i):g}\n" for i in range(bpe.get_piece_size()))


def largest_difference(path: Path, network: Network) -> float:
    """The largest difference between outputs of file and module over all examples.

    It is inf if a shape differs, NaN if an output has a NaN.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    differences = [0.0]
    for example in network.examples:
        feed = {name: x.numpy() for name, x in zip(network.inputs, example, strict=True)}
        onnx_outputs = session.run(list(network.outputs), feed)
        with torch.no_grad():
            torch_outputs = network.module(*example)
        torch_outputs = torch_outputs if isinstance(torch_outputs, tuple) else (torch_outputs,)
        for a, b in zip(onnx_outputs, torch_outputs, strict=True):
            same_shape = a.shape == tuple(b.shape)
            differences.append(float(np.abs(a - b.numpy()).max(initial=0.0)) if same_shape else float("inf"))
    return float(np.max(differences))  # np.max, unlike max, keeps a NaN


def decoder_and_joiner(model: AsrModel) -> tuple[Network, Network]:
    """The two networks that are the same for utterances and for streams."""
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
        # torch recommends its newer exporter, but the tracing one handles this model and is many times faster.
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
