"""The layout of a recogniser, read from the shapes of its weights, which have icefall's names.

Shapes do not tell `encoder_unmasked_dim`, chunks and left contexts, and of the attention only products of the number of
heads with the dimensions of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.model.recogniser import NUM_FEATURES
from ml2021.asr.model.zipformer.layer import ADAPTERS

Values = dict[str, object]  # {key of the configuration: value; a list has one value per stack}

POS_HEAD_DIM = 4  # of all layouts of icefall
_EMBED_CONVOLUTIONS = [f"encoder_embed.conv.{index}.weight" for index in (0, 4, 7)]


def layout_of(weights: Mapping[str, Tensor], where: str, pos_head_dim: int = POS_HEAD_DIM) -> Values:
    """The values that the shapes tell, under the names of the configuration.

    Args:
      weights: a state_dict of ours or of icefall's zipformer recipe.
      where: the checkpoint, for messages.
      pos_head_dim: dimension of a head's positional encoding, from which the number of heads follows.
    Raises:
      DataError: it is not such a transducer.
    """
    _require_transducer(weights, where)
    rows: list[Values] = []
    while (stack := _stack(weights, len(rows), pos_head_dim, where)) is not None:
        rows.append(stack)
    return {
        **{key: [row[key] for row in rows] for key in rows[0]},
        "embed_channels": _embed_channels(weights),
        "pos_dim": weights[f"{_layer(weights, 0)}self_attn_weights.linear_pos.weight"].shape[1],
        "causal": any(".chunkwise_conv." in name for name in weights),
        "decoder_dim": weights["decoder.embedding.weight"].shape[1],
        "context_size": weights["decoder.conv.weight"].shape[2] if "decoder.conv.weight" in weights else 1,
        "joiner_dim": weights["joiner.output_linear.weight"].shape[1],
        **({"adapter_dim": adapter_dim} if (adapter_dim := adapter_dim_of(weights)) else {}),
    }


def layout_of_config(config: TransducerConfig) -> Values:
    """The same values of a configuration."""
    stacks = config.encoder.stacks()
    return {
        "num_encoder_layers": [s.num_layers for s in stacks],
        "downsampling_factor": [s.downsampling for s in stacks],
        "encoder_dim": [s.dim for s in stacks],
        "feedforward_dim": [s.feedforward_dim for s in stacks],
        "num_heads": [s.num_heads for s in stacks],
        "query_head_dim": [s.query_head_dim for s in stacks],
        "value_head_dim": [s.value_head_dim for s in stacks],
        "cnn_module_kernel": [s.cnn_kernel for s in stacks],
        "embed_channels": list(config.encoder.embed_channels),
        "pos_dim": config.encoder.pos_dim,
        "causal": config.encoder.causal,
        "decoder_dim": config.decoder_dim,
        "context_size": config.context_size,
        "joiner_dim": config.joiner_dim,
        "adapter_dim": config.adapter_dim,
    }


def layout_differences(weights: Mapping[str, Tensor], config: TransducerConfig, where: str) -> list[str]:
    """`key value (not value of config)` for each value of the weights that differs; none if the weights fit.

    Weights that are not causal fit a causal configuration too, and those without adapters one with adapters:
    first_weights.init_from adapts them.

    Raises:
      DataError: see layout_of.
    """
    theirs, ours = layout_of(weights, where, config.encoder.stacks()[0].pos_head_dim), layout_of_config(config)
    if not theirs["causal"]:
        ours["causal"] = False
    return [f"{key} {_text(v)} (not {_text(ours[key])})" for key, v in theirs.items() if v != ours[key]]


def as_weights_have_it(config: TransducerConfig, weights: Mapping[str, Tensor]) -> TransducerConfig:
    """The configuration, causal if the weights are, and with adapters if they have some."""
    causal = any(".chunkwise_conv." in name for name in weights)
    encoder = replace(config.encoder, causal=causal)
    return replace(config, encoder=encoder, adapter_dim=adapter_dim_of(weights))


def adapter_dim_of(weights: Mapping[str, Tensor]) -> int:
    """The bottleneck of the adapters; 0: there are none."""
    first = weights.get(f"{_layer(weights, 0)}{ADAPTERS[0]}.in_proj.weight")
    return 0 if first is None else len(first)


def layout_text(values: Values) -> str:
    """The values on one line, as a configuration file has them."""
    outside = [key for key in ("decoder_dim", "context_size", "joiner_dim", "adapter_dim") if key in values]
    inner = ", ".join(f"{key}: {_text(v)}" for key, v in values.items() if key not in outside)
    return f"model: {{encoder: {{{inner}}}, {', '.join(f'{key}: {_text(values[key])}' for key in outside)}}}"


def _text(value: object) -> str:
    if isinstance(value, list) and len(set(value)) == 1:
        return f"[{value[0]}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _layer(weights: Mapping[str, Tensor], index: int) -> str:
    """The beginning of the names of a stack's first layer; only a stack with downsampling has `encoder` in it."""
    plain = f"encoder.encoders.{index}.layers.0."
    return plain if f"{plain}norm.bias" in weights else f"encoder.encoders.{index}.encoder.layers.0."


def _stack(weights: Mapping[str, Tensor], index: int, pos_head_dim: int, where: str) -> Values | None:
    """The values of a stack; None after the last stack."""
    layer = _layer(weights, index)
    if f"{layer}norm.bias" not in weights:
        return None
    layers = layer[: -len("0.")]
    downsample = weights.get(f"encoder.encoders.{index}.downsample.bias")
    conv = f"{layer}conv_module1.depthwise_conv."
    kernel = weights.get(f"{conv}chunkwise_conv.weight", weights.get(f"{conv}weight"))
    try:
        assert kernel is not None
        pos, rest = divmod(len(weights[f"{layer}self_attn_weights.linear_pos.weight"]), pos_head_dim)
        heads = max(pos, 1)
        in_proj = len(weights[f"{layer}self_attn_weights.in_proj.weight"]) - heads * pos_head_dim
        values = len(weights[f"{layer}self_attn1.in_proj.weight"])
        feedforward = len(weights[f"{layer}feed_forward2.in_proj.weight"])
    except (KeyError, AssertionError) as e:
        raise DataError(
            f"{where}: stack {index} of its encoder is not that of icefall's zipformer recipe of 2023 and later; older "
            "Zipformers and other encoders cannot be imported"
        ) from e
    if rest or in_proj % (2 * heads) or values % heads:
        raise DataError(
            f"{where}: the number of attention heads of stack {index} does not follow from its shapes with "
            f"pos_head_dim {pos_head_dim}: give the layout of its training with --model"
        )
    return {
        "num_encoder_layers": len({name[len(layers) :].split(".")[0] for name in weights if name.startswith(layers)}),
        "downsampling_factor": 1 if downsample is None else len(downsample),
        "encoder_dim": len(weights[f"{layer}norm.bias"]),
        "feedforward_dim": feedforward,
        "num_heads": heads,
        "query_head_dim": in_proj // (2 * heads),
        "value_head_dim": values // heads,
        "cnn_module_kernel": kernel.shape[2],
    }


def _embed_channels(weights: Mapping[str, Tensor]) -> list[int]:
    return [len(weights[name]) for name in _EMBED_CONVOLUTIONS]


def _require_transducer(weights: Mapping[str, Tensor], where: str) -> None:
    """Check that the weights are of a Zipformer transducer for our features, with a stateless decoder."""
    modules = ", ".join(sorted({name.split(".")[0] for name in weights}))
    if any("lora_" in name for name in weights):
        raise DataError(
            f"{where} has weights of LoRA: merge them first, with export.py of the recipe that made them (in a folder "
            "of ours, pretrained.pt has them merged)"
        )
    needed = {f"{_layer(weights, 0)}norm.bias", "encoder_embed.out.weight", *_EMBED_CONVOLUTIONS}
    if not needed <= weights.keys():
        raise DataError(
            f"{where} is no recogniser of icefall's zipformer recipe of 2023 and later (it has {modules}); older "
            "Zipformers, Conformers and other encoders cannot be imported"
        )
    if "decoder.embedding.weight" not in weights or "joiner.output_linear.weight" not in weights:
        what = "a CTC model" if "ctc_output" in modules else "an encoder"
        raise DataError(
            f"{where} is {what} without decoder and joiner (it has {modules}), and a transducer is needed: to start a "
            "training from its encoder, use --init-from with --init-modules encoder_embed,encoder"
        )
    if any(name.startswith("decoder.rnn") for name in weights):
        raise DataError(f"{where} has an LSTM as decoder; only stateless decoders can be imported")
    columns = weights["encoder_embed.out.weight"].shape[1] // _embed_channels(weights)[-1]
    expected = ((NUM_FEATURES - 1) // 2 - 1) // 2
    if columns != expected:
        raise DataError(
            f"{where} was trained on other features: its embedding has {columns} columns of frequency, and "
            f"{NUM_FEATURES} mel bins have {expected}; only models on Kaldi's {NUM_FEATURES} bins can be imported"
        )
