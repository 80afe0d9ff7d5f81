"""Translate our configuration into the options of icefall's zipformer/train.py and decode.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.train.config import AsrConfig

STACK_OPTIONS = {  # {icefall's option: our name of that value of an encoder stack}
    "num-encoder-layers": "num_layers",
    "downsampling-factor": "downsampling",
    "feedforward-dim": "feedforward_dim",
    "num-heads": "num_heads",
    "encoder-dim": "dim",
    "query-head-dim": "query_head_dim",
    "value-head-dim": "value_head_dim",
    "pos-head-dim": "pos_head_dim",
    "encoder-unmasked-dim": "unmasked_dim",
    "cnn-module-kernel": "cnn_kernel",
}
NEEDED = {  # options that a recent enough checkout has
    "train": (*STACK_OPTIONS, "pos-dim", "use-transducer", "use-ctc", "use-cr-ctc", "start-batch", "use-bf16"),
    "decode": ("use-averaged-model", "decoding-method", "bpe-model", "max-contexts", "num-paths"),
}


def as_icefall_trains(config: AsrConfig) -> AsrConfig:
    """Replace the values that icefall's train.py has no option for by the ones that it uses."""
    encoder = replace(config.model.encoder, mask_padding=False, warmup_batches=4000.0)
    model = replace(
        config.model, encoder=encoder, rnnt_type="regular", loss_backend="k2", use_cr_ctc=False, decoder_dropout=0.0
    )
    train = replace(
        config.train,
        optimizer="scaled_adam",
        schedule="eden",
        warmup_steps=500,
        warmup_start=0.1,
        accum_grad=1,
        lr_scale_modules=(),
        lr_scales=(),
        save_every_n=max(config.train.save_every_n, config.train.average_period),
    )
    return replace(config, model=model, train=train, weigh_batches=True, frozen_encoder_steps=0, freeze_modules=())


def differences(ours: AsrConfig, theirs: AsrConfig) -> list[str]:
    """List `key value (asr.yaml has value)` for each value that differs."""
    a, b = _flat(to_mapping(ours)), _flat(to_mapping(theirs))
    return [f"{key} {b[key]} (asr.yaml has {a[key]})" for key in a if a[key] != b[key]]


def model_options(config: AsrConfig) -> dict[str, Any]:
    """Options of both scripts: those that add_model_arguments of train.py declares."""
    c, encoder = config.model, config.model.encoder
    stacks = encoder.stacks()
    return {
        **{option: _joined(getattr(s, name) for s in stacks) for option, name in STACK_OPTIONS.items()},
        "pos-dim": encoder.pos_dim,
        "decoder-dim": c.decoder_dim,
        "joiner-dim": c.joiner_dim,
        "causal": int(encoder.causal),
        "context-size": c.context_size,
        "use-transducer": 1,
        "use-ctc": 1,
    }


def train_options(cuts: Path, exp_dir: Path, config: AsrConfig) -> dict[str, Any]:
    """All options of train.py."""
    c, t, encoder = config.model, config.train, config.model.encoder
    return {
        **model_options(config),
        "chunk-size": _joined(encoder.chunk_size),
        "left-context-frames": _joined(encoder.left_context_frames),
        "num-epochs": t.num_epochs,
        "base-lr": t.base_lr,
        "lr-batches": t.lr_batches,
        "lr-epochs": t.lr_epochs,
        "ref-duration": config.data.ref_duration,
        "prune-range": c.prune_range,
        "lm-scale": c.lm_scale,
        "am-scale": c.am_scale,
        "simple-loss-scale": c.simple_loss_scale,
        "ctc-loss-scale": c.ctc_loss_scale,
        "seed": t.seed,
        "save-every-n": t.save_every_n,
        "keep-last-k": t.keep_last_k,
        "average-period": t.average_period,
        "use-fp16": int(t.precision == "fp16"),
        "use-bf16": int(t.precision == "bf16"),
        "warm-step": c.warm_step,
        "log-interval": t.log_interval,
        "full-libri": 1,
        **data_options(cuts, exp_dir, config.data.max_duration),
    }


def decode_options(cuts: Path, exp_dir: Path, config: AsrConfig, decode: DecodeConfig) -> dict[str, Any]:
    """All options of decode.py, to decode with the weights of exp_dir/epoch-1.pt."""
    encoder = config.model.encoder
    return {
        **model_options(config),
        "chunk-size": encoder.chunk_size[0],
        "left-context-frames": encoder.left_context_frames[0],
        "epoch": 1,
        "avg": 1,
        "use-averaged-model": 0,
        "decoding-method": decode.decoding_method,
        "beam-size": decode.num_hypotheses,
        "beam": decode.beam,
        "max-contexts": decode.max_contexts,
        "max-states": decode.max_states,
        **data_options(cuts, exp_dir, decode.max_duration),
        "eval-max-duration": decode.max_duration,
    }


def data_options(cuts: Path, exp_dir: Path, max_duration: float) -> dict[str, Any]:
    """Options of icefall's data module, and the one that ours adds."""
    return {
        "exp-dir": exp_dir,
        "bpe-model": exp_dir / "lang" / "icefall.model",
        "ml2021-config": exp_dir / "config.json",
        "manifest-dir": cuts,
        "max-duration": round(max_duration),
    }


def _joined(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings: {"a": {"b": 1}} becomes {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
