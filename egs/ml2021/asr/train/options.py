"""The command line of the recogniser's training: icefall's flags over the values of asr.yaml."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.strict_config import from_mapping, load_config, to_mapping
from ml2021.asr.model.load import read_config
from ml2021.asr.train.config import AsrConfig

# flag: (where its value goes in asr.yaml's section asr, help)
VALUES = {
    "num-epochs": ("train.num_epochs", "epochs in all"),
    "base-lr": ("train.base_lr", "peak learning rate"),
    "seed": ("train.seed", "of weights, order and masks"),
    "save-every-n": ("train.save_every_n", "steps between checkpoint-N.pt"),
    "keep-last-k": ("train.keep_last_k", "checkpoint-N.pt kept while their epoch lasts"),
    "average-period": ("train.average_period", "steps between updates of model_avg"),
    "accum-grad": ("train.accum_grad", "batches of a process that make a step"),
    "log-interval": ("train.log_interval", "steps between log lines"),
    "scan-for-oom-batches": ("train.scan_worst_batches", "try the largest batches first"),
    "max-duration": ("data.max_duration", "seconds of audio a batch"),
    "num-buckets": ("data.num_buckets", "of the sampler"),
    "num-workers": ("data.num_workers", "processes that load features"),
    "on-the-fly-feats": ("data.on_the_fly_feats", "features from the audio, not the stored ones"),
    "noise-cuts": ("data.noise_cuts", "CutSet of noises to mix in"),
    "spec-aug-time-warp-factor": ("data.spec_augment.time_warp_factor", "frames; 0: no warp"),
    "causal": ("model.encoder.causal", "an encoder for streaming; it may begin (--init-from) as one that is not"),
    "chunk-size": ("model.encoder.chunk_size", "frames of 20 ms, such as 16,32,64,-1"),
    "left-context-frames": ("model.encoder.left_context_frames", "such as 64,128,256,-1"),
    "context-size": ("model.context_size", "tokens that the decoder sees"),
    "prune-range": ("model.prune_range", "symbol positions a frame"),
    "lm-scale": ("model.lm_scale", "smoothing of the simple loss by the decoder"),
    "am-scale": ("model.am_scale", "smoothing of the simple loss by the encoder"),
    "simple-loss-scale": ("model.simple_loss_scale", "weight of the simple loss after warm_step"),
    "ctc-loss-scale": ("model.ctc_loss_scale", "weight of the CTC loss"),
    "warm-step": ("model.warm_step", "steps until the pruned loss counts in full"),
}


@dataclass(frozen=True)
class TrainOptions:
    """What a start of training is told beside the configuration."""

    start: str | None = None  # name of the checkpoint to go on from; None: the newest
    init_from: Path | None = None  # checkpoint whose weights training begins with
    init_modules: tuple[str, ...] = ()  # of them, these modules only
    inf_check: bool = False  # stop at the first module that gives a number that is not finite
    print_diagnostics: bool = False  # a table of statistics in the place of training


def parser() -> argparse.ArgumentParser:
    """Of python -m ml2021.asr.train."""
    p = argparse.ArgumentParser(
        prog="python -m ml2021.asr.train",
        allow_abbrev=False,
        description="Train a recogniser on windows; in N processes: torchrun --nproc-per-node N -m ml2021.asr.train",
    )
    p.add_argument("--exp-dir", type=Path, required=True, help="where checkpoints go; training goes on from them")
    p.add_argument("--manifest-dir", type=Path, required=True, help="stage 4's folder, such as data/mini/cuts")
    p.add_argument("--lang-dir", type=Path, required=True, help="stage 2's folder, such as data/mini/lang")
    p.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder with asr.yaml [%(default)s]")
    p.add_argument("--start-epoch", type=int, default=1, help="go on from epoch-(N - 1).pt [1: the newest there is]")
    p.add_argument("--start-batch", type=int, help="go on from checkpoint-N.pt")
    p.add_argument("--init-from", type=Path, help="begin with the weights of this checkpoint, ours or icefall's")
    p.add_argument("--init-modules", help="of them take these modules only, such as encoder,encoder_embed [all]")
    for flag, text in (
        ("use-fp16", "half precision with loss scaling"),
        ("use-bf16", "bfloat16 precision"),
        ("inf-check", "stop at the first module whose output or gradient is not finite"),
        ("print-diagnostics", "print statistics of all modules for some batches, and end"),
    ):
        p.add_argument(f"--{flag}", type=boolean, nargs="?", const=True, default=False, help=text)
    p.add_argument("--world-size", type=int, help="only checked: torchrun decides how many processes there are")
    for flag, (key, text) in VALUES.items():
        p.add_argument(f"--{flag}", help=f"{text} [{key} of asr.yaml]")
    return p


def options_of(args: argparse.Namespace, world_size: int) -> TrainOptions:
    """The options that are no values of the configuration.

    Raises:
      ConfigError: they contradict each other.
    """
    if args.world_size is not None and args.world_size != world_size:
        raise ConfigError(
            f"--world-size {args.world_size}, but {world_size} running: start the processes with "
            f"torchrun --nproc-per-node {args.world_size} -m ml2021.asr.train"
        )
    if args.start_epoch < 1 or (args.start_epoch > 1 and args.start_batch is not None):
        raise ConfigError(f"--start-epoch must be >= 1 and not be there with --start-batch, got {args.start_epoch}")
    if args.init_modules and args.init_from is None:
        raise ConfigError("--init-modules needs --init-from")
    start = None
    if args.start_batch is not None:
        start = f"checkpoint-{args.start_batch}.pt"
    elif args.start_epoch > 1:
        start = f"epoch-{args.start_epoch - 1}.pt"
    modules = tuple(m for m in (args.init_modules or "").split(",") if m)
    return TrainOptions(start, args.init_from, modules, args.inf_check, args.print_diagnostics)


def config_of(args: argparse.Namespace) -> AsrConfig:
    """asr.yaml of the folder --conf, with the values given on the command line.

    Raises:
      ConfigError: a value has the wrong type or is out of range.
    """
    values = to_mapping(load_config(args.conf / "asr.yaml", "asr", AsrConfig))
    for flag, (key, _) in VALUES.items():
        given = getattr(args, flag.replace("-", "_"))
        if given is not None:
            _set(values, key.split("."), given)
    if args.use_fp16 and args.use_bf16:
        raise ConfigError("give --use-fp16 or --use-bf16, not both")
    if args.use_fp16 or args.use_bf16:
        values["train"]["precision"] = "fp16" if args.use_fp16 else "bf16"
    if args.init_from is None:
        values["frozen_encoder_steps"] = 0  # an encoder that knows nothing yet
    return from_mapping(values, AsrConfig, "command line")


def read_asr_config(exp_dir: Path) -> AsrConfig:
    """What the recogniser of an experiment folder was trained with.

    Raises:
      DataError: config.json is missing or damaged.
      ConfigError: a key or value in it is wrong.
    """
    path = exp_dir / "config.json"
    return from_mapping(read_config(path), AsrConfig, str(path))


def boolean(text: str) -> bool:
    """icefall's true, false, 1, 0."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"true or false, got {text!r}")
    return text.lower() in ("true", "1")


def _value(text: str) -> Any:
    """A value as YAML reads it, with icefall's True and False."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _set(values: dict[str, Any], keys: list[str], text: str) -> None:
    for key in keys[:-1]:
        values = values[key]
    old, value = values[keys[-1]], _value(text)
    if isinstance(old, bool) and value in (0, 1):
        value = bool(value)
    if isinstance(old, tuple):
        value = [_value(x) for x in text.split(",")]
    values[keys[-1]] = value
