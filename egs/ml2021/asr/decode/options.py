"""The command line of decoding: icefall's flags over the values of decode.yaml, and the names of what comes out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.strict_config import load_config
from ml2021.asr.decode.config import DecodeConfig, with_lm_dir
from ml2021.asr.model.load import require_same_vocabulary
from ml2021.asr.search.config import DECODING_METHODS, FUSION_METHODS
from ml2021.asr.train.options import boolean
from ml2021.training.checkpoint import (
    average_checkpoints,
    average_with_running_average,
    load_averaged,
    load_checkpoint,
    step_numbers,
)

# flag: (type, help); its value goes to the key of decode.yaml's section decode that has its name
VALUES: dict[str, tuple[type, str]] = {
    "max-duration": (float, "seconds of audio a batch"),
    "blank-penalty": (float, "taken from the blank's logit, for fewer deletions"),
    "beam-size": (int, "hypotheses of modified_beam_search, beam_search, ctc_prefix_beam_search"),
    "max-sym-per-frame": (int, "tokens a frame that beam_search may emit, with a model of rnnt_type regular"),
    "beam": (float, "of fast_beam_search: log-probability below the best at which a path is given up"),
    "max-contexts": (int, "of fast_beam_search, a frame"),
    "max-states": (int, "of fast_beam_search, a frame"),
    "num-paths": (int, "of fast_beam_search_nbest: drawn from the lattice"),
    "nbest-scale": (float, "of fast_beam_search_nbest: of the scores while they are drawn"),
    "lg-file": (str, "of fast_beam_search_nbest_LG: the graph, from python -m ml2021.asr.search.lg_graph"),
    "ngram-lm-scale": (float, "of fast_beam_search_nbest_LG: of the graph's scores"),
    "lm-scale": (float, f"of the language model, with {' or '.join(FUSION_METHODS)}; 0: none"),
    "lm-dir": (str, "its folder, from python -m ml2021.asr.fusion.train, or with an lm.arpa; else lm beside EXP_DIR"),
    "hotwords-file": (str, f"terms that get a bonus, one a line, with {' or '.join(FUSION_METHODS)}"),
    "hotwords-score": (float, "bonus a token of a hotword"),
}


def parser() -> argparse.ArgumentParser:
    """Of python -m ml2021.asr.decode."""
    p = argparse.ArgumentParser(
        prog="python -m ml2021.asr.decode",
        allow_abbrev=False,
        description="Decode windows with the model of an experiment folder and score them. --a_b is --a-b. "
        "--long: whole lectures (--long --help).",
    )
    add_cuts_options(p)
    add_options(p)
    p.add_argument("--out-dir", type=Path, help="where the files go [EXP_DIR/METHOD]")
    return p


def add_cuts_options(p: argparse.ArgumentParser) -> None:
    """Which windows."""
    p.add_argument("--cuts", type=Path, required=True, help="stage 4's folder, such as data/mini/cuts")
    p.add_argument("--part", choices=("train", "dev", "test"), default="test", help="[%(default)s]")


def add_model_options(p: argparse.ArgumentParser) -> None:
    """Which model."""
    p.add_argument("--exp-dir", type=Path, required=True, help="stage 5's folder, such as exp/mini/asr")
    p.add_argument("--epoch", type=int, help="decode with epoch-N.pt; without --epoch and --iter: pretrained.pt")
    p.add_argument("--iter", type=int, default=0, help="decode with checkpoint-N.pt, in the place of --epoch")
    p.add_argument("--avg", type=int, default=1, help="average over so many epochs or checkpoints [%(default)s]")
    p.add_argument("--use-averaged-model", type=boolean, default=True, help="average by model_avg [%(default)s]")


def add_options(p: argparse.ArgumentParser) -> None:
    """Which model, and how it decodes."""
    add_model_options(p)
    p.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder with decode.yaml [%(default)s]")
    p.add_argument("--decoding-method", type=_method, help=f"{', '.join(DECODING_METHODS)} [that of decode.yaml]")
    for flag, (kind, text) in VALUES.items():
        p.add_argument(f"--{flag}", type=kind, help=f"{text} [that of decode.yaml]")


def config_of(args: argparse.Namespace) -> DecodeConfig:
    """decode.yaml of the folder --conf, with the values given on the command line.

    Raises:
      ConfigError: a value is out of range, or the method takes no language model or hotwords.
    """
    config = load_config(args.conf / "decode.yaml", "decode", DecodeConfig)
    given: dict[str, Any] = {flag.replace("-", "_"): getattr(args, flag.replace("-", "_")) for flag in VALUES}
    given = {key: value for key, value in given.items() if value is not None}
    if args.decoding_method is not None:
        given["decoding_method"] = args.decoding_method
        if args.decoding_method not in FUSION_METHODS:  # the file's are for the file's method
            given = {"lm_scale": 0.0, "hotwords_file": None} | given
    return with_lm_dir(replace(config, **given), args.exp_dir.parent)


def weights_of(args: argparse.Namespace) -> tuple[dict[str, Tensor] | None, str]:
    """The weights that --epoch, --iter, --avg name, and a name for them; None and "": those of pretrained.pt.

    Raises:
      ConfigError: the options contradict each other.
      DataError: a checkpoint is missing or damaged, or was trained with other tokens.
    """
    if args.avg < 1 or args.iter < 0 or (args.epoch is not None and args.epoch < 1):
        raise ConfigError(f"--avg and --epoch must be >= 1, --iter >= 0; got {args.avg}, {args.epoch}, {args.iter}")
    if args.iter > 0 and args.epoch is not None:
        raise ConfigError("give --epoch or --iter, not both")
    if args.iter == 0 and args.epoch is None:
        if args.avg != 1:
            raise ConfigError(f"--avg {args.avg} needs --epoch or --iter: pretrained.pt is an average already")
        return None, ""
    if args.iter > 0:
        newest, name = args.exp_dir / f"checkpoint-{args.iter}.pt", f"iter-{args.iter}"
    else:
        newest, name = args.exp_dir / f"epoch-{args.epoch}.pt", f"epoch-{args.epoch}"
    require_same_vocabulary(newest, load_checkpoint(newest), args.exp_dir / "lang")
    if args.iter > 0:
        weights = _averaged_steps(args.exp_dir, args.iter, args.avg, args.use_averaged_model)
    else:
        weights = load_averaged(args.exp_dir, args.epoch, args.avg, args.use_averaged_model)
    return weights, f"{name}-avg-{args.avg}"


def suffix_of(config: DecodeConfig, weights_name: str, use_averaged_model: bool) -> str:
    """What tells the files of a decoding from others: weights, method and its sizes, penalty, fusion; as icefall's."""
    c = config
    parts = [weights_name] if weights_name else []
    parts.append(c.decoding_method)
    if c.decoding_method.startswith("fast_beam_search"):
        parts.append(f"beam-{c.beam:g}-max-contexts-{c.max_contexts}-max-states-{c.max_states}")
        if "nbest" in c.decoding_method:
            parts.append(f"nbest-scale-{c.nbest_scale:g}-num-paths-{c.num_paths}")
        if "LG" in c.decoding_method:
            parts.append(f"ngram-lm-scale-{c.ngram_lm_scale:g}")
    elif "beam_search" in c.decoding_method:
        parts.append(f"beam-size-{c.beam_size}")
    if c.blank_penalty:
        parts.append(f"blank-penalty-{c.blank_penalty:g}")
    if c.lm_scale:
        parts.append(f"lm-scale-{c.lm_scale:g}")
    if c.hotwords_file is not None:
        parts.append(f"hotwords-score-{c.hotwords_score:g}")
    if weights_name and use_averaged_model:
        parts.append("use-averaged-model")
    return "-".join(parts)


def _averaged_steps(exp_dir: Path, step: int, avg: int, use_averaged_model: bool) -> dict[str, Tensor]:
    """Of checkpoint-N.pt up to N = step: the last `avg`, or with running averages from the one before them on."""
    paths = [exp_dir / f"checkpoint-{n}.pt" for n in step_numbers(exp_dir) if n <= step]
    wanted = avg + 1 if use_averaged_model else avg
    if len(paths) < wanted:
        raise DataError(f"--iter {step} --avg {avg} needs {wanted} checkpoints up to it, {exp_dir} has {len(paths)}")
    if use_averaged_model:
        return average_with_running_average(paths[-wanted], paths[-1])
    return load_checkpoint(paths[-1])["model"] if avg == 1 else average_checkpoints(paths[-avg:])


def _method(text: str) -> str:
    method = text.replace("-", "_")
    if method not in DECODING_METHODS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(DECODING_METHODS)}, got {text!r}")
    return method
