"""The command line of the recogniser's training (icefall's flags override the values of asr.yaml), and config.json."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import from_mapping, load_config, read_section, to_mapping
from ml2021.asr.model.config import TransducerConfig
from ml2021.asr.train.config import AsrConfig

DECODE = "decode"  # a section of decode.yaml, and its key in config.json

# flag: (the key in section asr of asr.yaml that it overrides, help)
VALUES = {
    "num-epochs": ("train.num_epochs", "number of epochs"),
    "base-lr": ("train.base_lr", "peak learning rate"),
    "lr-scale-modules": ("train.lr_scale_modules", "modules that learn at another rate, such as encoder_embed,encoder"),
    "lr-scales": ("train.lr_scales", "what the learning rate is multiplied by in each of them, such as 0.1,0.1"),
    "seed": ("train.seed", "random seed of weights, order and masks"),
    "save-every-n": ("train.save_every_n", "steps between checkpoint-N.pt"),
    "keep-last-k": ("train.keep_last_k", "number of checkpoint-N.pt kept during an epoch"),
    "average-period": ("train.average_period", "steps between updates of model_avg"),
    "accum-grad": ("train.accum_grad", "batches per process and step"),
    "log-interval": ("train.log_interval", "steps between log lines"),
    "compile": ("compile", "fuse functions of the encoder's layers with torch.compile"),
    "scan-for-oom-batches": ("train.scan_worst_batches", "try the largest batches first"),
    "max-duration": ("data.max_duration", "seconds of audio per batch"),
    "num-buckets": ("data.num_buckets", "buckets of the sampler"),
    "num-workers": ("data.num_workers", "processes that load features"),
    "on-the-fly-feats": ("data.on_the_fly_feats", "compute features from the audio instead of reading stored ones"),
    "shar-dir": ("data.shar_dir", "folders with Lhotse Shar to train from, such as a/shar/train,b/shar/train"),
    "shar-weights": ("data.shar_weights", "how often a window is taken from each of them, such as 3,1"),
    "shar-dev-dir": ("data.shar_dev_dir", "folders with Lhotse Shar for the loss on dev"),
    "mux-cuts": ("data.mux_cuts", "CutSet files with other windows to train on too, such as a.jsonl.gz,b.jsonl.gz"),
    "mux-weights": ("data.mux_weights", "windows of each of them for one of the train part, such as 0.5,0.1"),
    "noise-cuts": ("data.noise_cuts", "CutSet file of noises to mix in"),
    "reverb-probability": ("data.sound_augment.reverb_probability", "probability that a window is reverberated"),
    "rir-recordings": ("data.sound_augment.rir_recordings", "RecordingSet file of impulse responses of rooms"),
    "clipping-probability": ("data.sound_augment.clipping_probability", "probability that a window is overdriven"),
    "lowpass-probability": ("data.sound_augment.lowpass_probability", "probability that it loses high frequencies"),
    "codec-probability": ("data.sound_augment.codec_probability", "probability that it goes through a codec"),
    "spec-aug-time-warp-factor": ("data.spec_augment.time_warp_factor", "time warp in frames; 0: none"),
    "time-mask-ratio": ("data.time_mask_ratio", "how many times as many masks over time there are with CR-CTC"),
    "causal": ("model.encoder.causal", "encoder for streaming; --init-from may name one that is not causal"),
    "chunk-size": ("model.encoder.chunk_size", "frames of 20 ms per chunk, such as 16,32,64,-1"),
    "left-context-frames": ("model.encoder.left_context_frames", "frames of 20 ms, such as 64,128,256,-1"),
    "context-size": ("model.context_size", "number of previous tokens that the decoder sees"),
    "decoder-dropout": ("model.decoder_dropout", "dropout of the decoder's tokens and outputs, for little speech"),
    "prune-range": ("model.prune_range", "symbol positions per frame of the pruned loss"),
    "lm-scale": ("model.lm_scale", "weight of the decoder alone in the simple loss"),
    "am-scale": ("model.am_scale", "weight of the encoder alone in the simple loss"),
    "simple-loss-scale": ("model.simple_loss_scale", "weight of the simple loss after warm_step"),
    "ctc-loss-scale": ("model.ctc_loss_scale", "weight of the CTC loss"),
    "units-ctc-scale": ("model.units_ctc_scale", "weight of the CTC loss on units of pronunciation; 0: no such head"),
    "units-stacks": ("model.units_stacks", "stacks of the encoder below that head; 0: all"),
    "use-cr-ctc": ("model.use_cr_ctc", "train on two views of each utterance (CR-CTC)"),
    "cr-loss-scale": ("model.cr_loss_scale", "weight of the consistency of the two views"),
    "cr-warm-step": ("model.cr_warm_step", "steps until the consistency has its full weight"),
    "lora-r": ("lora.rank", "rank of LoRA's updates, trained instead of all weights; 0: no LoRA"),
    "lora-alpha": ("lora.alpha", "an update of LoRA is multiplied by this divided by its rank"),
    "adapter-dim": ("model.adapter_dim", "bottleneck of adapters, trained instead of all weights; 0: none"),
    "warm-step": ("model.warm_step", "steps until the pruned loss has its full weight"),
}


@dataclass(frozen=True)
class TrainOptions:
    """Options of one start of training, beside the configuration."""

    start: str | None = None  # name of the checkpoint to resume from; None: the newest
    init_from: Path | None = None  # checkpoint with the initial weights
    init_modules: tuple[str, ...] = ()  # take only these modules from init_from; (): all
    inf_check: bool = False  # stop at the first module with an output or gradient that is not finite
    print_diagnostics: bool = False  # print a table of statistics instead of training
    decode: Mapping[str, Any] | None = None  # section decode of decode.yaml, saved in config.json for decoding
    begin: Callable[[], None] = lambda: None  # called when a training is about to begin or go on


def parser() -> argparse.ArgumentParser:
    """The options of python -m ml2021.asr.train; read them with parse_arguments."""
    p = argparse.ArgumentParser(
        prog="python -m ml2021.asr.train",
        allow_abbrev=False,
        description="Train a recogniser on windows. With N processes: torchrun --nproc-per-node N -m ml2021.asr.train",
    )
    p.add_argument("--exp-dir", type=Path, required=True, help="folder of checkpoints; training resumes from them")
    p.add_argument(
        "--manifest-dir", "--cuts", type=Path, help="stage 4's folder, such as data/mini/cuts; not needed for Shar"
    )
    p.add_argument("--lang-dir", type=Path, required=True, help="stage 2's folder, such as data/mini/lang")
    p.add_argument(
        "--conf",
        type=Path,
        help="folder with asr.yaml, or a file like it, such as conf/ml2021/finetune.yaml; must be given",
    )
    p.add_argument("--model", type=Path, help="layout, such as conf/zipformer/large.yaml [model of asr.yaml]")
    p.add_argument("--start-epoch", type=int, default=1, help="resume from epoch-(N - 1).pt [1: the newest checkpoint]")
    p.add_argument("--start-batch", type=int, help="resume from checkpoint-N.pt")
    p.add_argument("--init-from", type=Path, help="checkpoint with the initial weights, ours or icefall's")
    p.add_argument("--init-modules", help="take only these modules from it, such as encoder,encoder_embed [all]")
    for flag, text in (
        ("use-fp16", "half precision with loss scaling"),
        ("use-bf16", "bfloat16 precision"),
        ("inf-check", "stop at the first module whose output or gradient is not finite"),
        ("print-diagnostics", "print statistics of all modules for some batches, then exit"),
    ):
        p.add_argument(f"--{flag}", type=boolean, nargs="?", const=True, default=False, help=text)
    p.add_argument("--world-size", type=int, help="only checked: torchrun sets the number of processes")
    for flag, (key, text) in VALUES.items():
        p.add_argument(f"--{flag}", help=f"{text} [{key} of asr.yaml]")
    return p


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line; exit with code 2 and a message if an option is unknown or missing."""
    p = parser()
    args = p.parse_args(argv)
    if args.conf is None:  # not `required`, since that message would not say what to name
        p.error("--conf is missing: name the folder with your asr.yaml, such as conf/ml2021 (conf/mini: a toy model)")
    return args


def options_of(args: argparse.Namespace, world_size: int) -> TrainOptions:
    """The options that are not values of the configuration.

    Raises:
      ConfigError: they contradict each other.
    """
    if args.world_size is not None and args.world_size != world_size:
        raise ConfigError(
            f"--world-size is {args.world_size}, but {world_size} run: start the processes with "
            f"torchrun --nproc-per-node {args.world_size} -m ml2021.asr.train"
        )
    if args.start_epoch < 1 or (args.start_epoch > 1 and args.start_batch is not None):
        raise ConfigError(f"--start-epoch must be >= 1 and given without --start-batch, got {args.start_epoch}")
    if args.init_modules and args.init_from is None:
        raise ConfigError("--init-modules needs --init-from")
    start = None
    if args.start_batch is not None:
        start = f"checkpoint-{args.start_batch}.pt"
    elif args.start_epoch > 1:
        start = f"epoch-{args.start_epoch - 1}.pt"
    modules = tuple(m for m in (args.init_modules or "").split(",") if m)
    decode = decode_section(args.conf)
    return TrainOptions(start, args.init_from, modules, args.inf_check, args.print_diagnostics, decode)


def config_of(args: argparse.Namespace) -> AsrConfig:
    """The configuration: asr.yaml of the folder --conf, or the file --conf, overridden by --model, then single values.

    Raises:
      ConfigError: a value has the wrong type or is out of range.
    """
    values = to_mapping(
        load_config(args.conf if args.conf.suffix == ".yaml" else args.conf / "asr.yaml", "asr", AsrConfig)
    )
    if args.model is not None:
        layout = to_mapping(load_config(args.model, "model", TransducerConfig))
        values["model"] |= {key: layout[key] for key in ("encoder", "decoder_dim", "context_size", "joiner_dim")}
        values["model"]["adapter_dim"] = layout["adapter_dim"] or values["model"]["adapter_dim"]
    for flag, (key, _) in VALUES.items():
        text = getattr(args, flag.replace("-", "_"))
        if text is not None:
            _set(values, key.split("."), text)
    if args.use_fp16 and args.use_bf16:
        raise ConfigError("give --use-fp16 or --use-bf16, not both")
    if args.use_fp16 or args.use_bf16:
        values["train"]["precision"] = "fp16" if args.use_fp16 else "bf16"
    data = values["data"]
    if args.manifest_dir is None and not (data["shar_dir"] and data["shar_dev_dir"]):
        raise ConfigError(
            "--manifest-dir is missing: name stage 4's folder, such as data/mini/cuts, or folders with Lhotse Shar for "
            "both train and dev (--shar-dir, --shar-dev-dir)"
        )
    if args.init_from is None:
        values["frozen_encoder_steps"], values["freeze_modules"] = 0, []  # there are no trained weights to protect
        if args.lr_scale_modules is None and args.lr_scales is None:
            values["train"] |= {"lr_scale_modules": [], "lr_scales": []}
    return from_mapping(values, AsrConfig, "command line")


def read_asr_config(exp_dir: Path) -> AsrConfig:
    """The configuration that the recogniser of an experiment folder was trained with; leaves out its key decode.

    Raises:
      DataError: config.json is missing or damaged.
      ConfigError: a key or value in it is wrong.
    """
    from ml2021.asr.model.load import read_config

    path = exp_dir / "config.json"
    values = {key: value for key, value in read_config(path).items() if key != DECODE}
    return from_mapping(values, AsrConfig, str(path))


def write_asr_config(exp_dir: Path, config: AsrConfig, decode: Mapping[str, Any] | None) -> None:
    """Write config.json: the resolved configuration and, if there is one, the section for decoding, as key decode."""
    write_json(exp_dir / "config.json", to_mapping(config) | ({} if decode is None else {DECODE: dict(decode)}))


def decode_section(conf: Path) -> dict[str, Any] | None:
    """Section decode of decode.yaml in a configuration folder, as it is; None if the folder has no decode.yaml.

    Args:
      conf: the folder, or a file in it.

    Its keys and values are checked when decoding.

    Raises:
      ConfigError: decode.yaml is not valid YAML or has an unknown section.
    """
    path = (conf.parent if conf.suffix == ".yaml" else conf) / "decode.yaml"
    return read_section(path, DECODE) if path.is_file() else None


def boolean(text: str) -> bool:
    """The value of a flag: true, false, 1 or 0, as in icefall."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"true or false, got {text!r}")
    return text.lower() in ("true", "1")


def _value(text: str) -> Any:
    """A value, read as YAML, which accepts icefall's True and False."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _set(values: dict[str, Any], keys: list[str], text: str) -> None:
    """Set the value at a path of keys."""
    for key in keys[:-1]:
        values = values[key]
    old, value = values[keys[-1]], _value(text)
    if isinstance(old, bool) and value in (0, 1):
        value = bool(value)
    if isinstance(old, tuple):
        value = [_value(x) for x in text.split(",")]
    values[keys[-1]] = value
