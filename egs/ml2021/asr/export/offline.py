"""Export the recogniser as ONNX files for sherpa-onnx's OfflineRecognizer.from_transducer, and as pretrained.pt.

    python -m ml2021.asr.export --exp-dir exp/mini/asr --out-dir my-model

A causal Zipformer is also exported for OnlineRecognizer.from_transducer (see export_streaming).

Legend: N batch, T input frames, T' encoder frames, J joiner dimension, V vocabulary.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.files import whole_file
from ml2021.asr.export.networks import Network, decoder_and_joiner, write_networks
from ml2021.asr.model.recogniser import NUM_FEATURES, AsrModel


class OnnxEncoder(nn.Module):
    """The encoder and the joiner's projection of its output."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, x_lens: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (N, T, 80) and x_lens (N,) int64 to encoder_out (N, T', J) and its lengths (N,) int64."""
        encoder_out, lens = self.model.forward_encoder(x, x_lens)
        return self.model.joiner.encoder_proj(encoder_out), lens


def export_onnx(model: AsrModel, tokens: TokenTable, out_dir: Path) -> None:
    """Write encoder, decoder and joiner as .onnx and .int8.onnx, tokens.txt and bpe.vocab.

    The float32 files are checked against the model.

    Args:
      model: in evaluation mode, on the CPU.
      tokens: its tokens.
      out_dir: created if missing.
    Raises:
      DataError: an ONNX network gives other outputs than the model.
    """
    metadata = _metadata(model)
    write_networks([_encoder(model), *decoder_and_joiner(model)], [metadata] * 3, tokens, out_dir)


def write_pretrained(model: AsrModel, out_dir: Path) -> None:
    """Write pretrained.pt in icefall's format, {"model": state_dict}: only the weights."""
    with whole_file(out_dir / "pretrained.pt", "wb") as f:
        torch.save({"model": model.state_dict()}, f)


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


def _metadata(model: AsrModel) -> dict[str, str]:
    """The metadata that sherpa-onnx reads, the same in all three files."""
    return {
        "model_type": "zipformer2",
        "vocab_size": str(model.vocab_size),
        "context_size": str(model.decoder.context_size),
        "joiner_dim": str(model.joiner.output_linear.in_features),
        "comment": "ml2021 transducer; 80 log-mel bins of 16 kHz audio, 25 output frames a second",
    }
