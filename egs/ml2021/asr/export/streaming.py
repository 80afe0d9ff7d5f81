"""Export a causal Zipformer as ONNX files for sherpa-onnx's OnlineRecognizer.from_transducer (model type zipformer2).

Legend: N streams, T input frames of a chunk, T' its encoder frames, J joiner dimension, L left context of a layer.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from lhotse_prep.tokens.token_table import TokenTable
from ml2021.asr.export.networks import Network, decoder_and_joiner, write_networks
from ml2021.asr.model.recogniser import NUM_FEATURES, AsrModel
from ml2021.asr.search.streaming import LOOK_AHEAD, stream_axis

logger = logging.getLogger(__name__)

_EMBED_CHANNELS = 128  # of the embedding's state, which sherpa-onnx does not read from the file
_LAYER_STATES = ("cached_key", "cached_nonlin_attn", "cached_val1", "cached_val2", "cached_conv1", "cached_conv2")


class OnnxStreamingEncoder(nn.Module):
    """The encoder and the joiner's projection for one chunk; takes the states of the streams and returns new ones."""

    def __init__(self, model: AsrModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Map x (N, T, 80) and states as in AsrModel.initial_states to encoder_out (N, T', J) and new states."""
        lens = torch.full_like(states[-1], x.shape[1])
        encoder_out, _, new_states = self.model.streaming_forward(x, lens, list(states))
        return self.model.joiner.encoder_proj(encoder_out), *new_states


def can_stream(model: AsrModel) -> bool:
    """Whether sherpa-onnx can stream the model: a causal Zipformer with a limited chunk size and left context."""
    c = model.config.encoder
    if c.causal and c.embed_channels[-1] != _EMBED_CHANNELS:
        logger.warning(
            "no export for streams: sherpa-onnx takes %d as the last of embed_channels, and this model has %d",
            _EMBED_CHANNELS,
            c.embed_channels[-1],
        )
        return False
    return c.causal and c.chunk_size[0] > 0 and c.left_context_frames[0] > 0


def export_streaming(model: AsrModel, tokens: TokenTable, out_dir: Path) -> None:
    """Write the same files as offline.export_onnx, with an encoder that takes a chunk and the states of the stream.

    Args:
      model: in evaluation mode, on the CPU; can_stream(model) must be true.
      tokens: its tokens.
      out_dir: created if missing.
    Raises:
      DataError: an ONNX network gives other outputs than the model.
    """
    assert can_stream(model), "call can_stream first"
    shared = {
        "vocab_size": str(model.vocab_size),
        "context_size": str(model.decoder.context_size),
        "joiner_dim": str(model.joiner.output_linear.in_features),
    }
    networks = [_encoder(model), *decoder_and_joiner(model)]
    write_networks(networks, [_metadata(model), shared, shared], tokens, out_dir)


def _encoder(model: AsrModel) -> Network:
    num_layers = sum(s.num_layers for s in model.config.encoder.stacks())
    names = [f"{name}_{i}" for i in range(num_layers) for name in _LAYER_STATES] + ["embed_states", "processed_lens"]
    axes = {"x": {0: "N"}, "encoder_out": {0: "N"}}
    for k, name in enumerate(names):
        axes[name] = axes[f"new_{name}"] = {stream_axis(k, len(names)): "N"}
    num_frames = 2 * model.config.encoder.chunk_size[0] + LOOK_AHEAD
    generator = torch.Generator().manual_seed(0)
    examples = []
    for num_streams in (2, 1, 3):
        states = model.initial_states(num_streams)
        with torch.no_grad():  # states of streams that have already taken a chunk
            x = 4 * torch.randn(num_streams, num_frames, NUM_FEATURES, generator=generator) - 8
            states = model.streaming_forward(x, torch.full((num_streams,), num_frames), states)[2]
        x = 4 * torch.randn(num_streams, num_frames, NUM_FEATURES, generator=generator) - 8
        examples.append((x, *states))
    outputs = ("encoder_out", *(f"new_{name}" for name in names))
    return Network("encoder", OnnxStreamingEncoder(model).eval(), ("x", *names), outputs, axes, examples)


def _metadata(model: AsrModel) -> dict[str, str]:
    """The sizes that sherpa-onnx builds the initial states from; lists have one value per encoder stack."""
    c = model.config.encoder
    stacks = c.stacks()
    lists = {
        "num_encoder_layers": [s.num_layers for s in stacks],
        "encoder_dims": [s.dim for s in stacks],
        "query_head_dims": [s.query_head_dim for s in stacks],
        "value_head_dims": [s.value_head_dim for s in stacks],
        "num_heads": [s.num_heads for s in stacks],
        "cnn_module_kernels": [s.cnn_kernel for s in stacks],
        "left_context_len": [c.left_context_frames[0] // s.downsampling for s in stacks],
    }
    return {
        "model_type": "zipformer2",
        "version": "1",
        "T": str(2 * c.chunk_size[0] + LOOK_AHEAD),
        "decode_chunk_len": str(2 * c.chunk_size[0]),
        "comment": "ml2021 streaming transducer; 80 log-mel bins of 16 kHz audio, 25 output frames a second",
        **{name: ",".join(map(str, values)) for name, values in lists.items()},
    }
