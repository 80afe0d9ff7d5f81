"""The command line of pseudo-labels."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, number
from ml2021.asr.decode.options import OF_OTHERS, VALUES
from ml2021.asr.pseudo_labels.config import SelectConfig

OF_DECODING = ("lm-scale", "lm-dir", "beam-size", "ctc-scale")


def parser() -> argparse.ArgumentParser:
    """The options of python -m ml2021.asr.pseudo_labels."""
    p = argparse.ArgumentParser(
        prog="python -m ml2021.asr.pseudo_labels",
        allow_abbrev=False,
        description="Recognise recordings without text, window by window, in two ways, and write the windows on which "
        "both agree as OUT_DIR/cuts/ml2021_cuts_pseudo.jsonl.gz, to train on (data.mux_cuts). Recordings that "
        "OUT_DIR has already are not recognised again, also with other limits. --a_b is the same as --a-b.",
    )
    p.add_argument("--exp-dir", type=Path, required=True, help="the recogniser: stage 5's folder, with a CTC head")
    source = p.add_mutually_exclusive_group(required=True)
    source.add_argument("--audio", type=Path, nargs="+", metavar="FILE", help="recordings: .wav, .mp3, .mp4 ...")
    source.add_argument("--recordings", type=Path, metavar="FILE", help="a RecordingSet of Lhotse, such as .jsonl.gz")
    p.add_argument("--out-dir", type=Path, required=True, help="where the files go, such as data/mini/pseudo")
    p.add_argument(
        "--manifests",
        type=Path,
        metavar="DIR",
        help="stage 1's folder, such as data/mini/manifests: its recordings are refused, above all those of dev and "
        "test, by id, samples and text",
    )
    p.add_argument(
        "--conf",
        type=Path,
        metavar="DIR",
        help="folder with the prep.yaml (windows) and decode.yaml (search) to take values from [defaults, and the "
        "values that EXP_DIR was trained with]",
    )
    limits = SelectConfig()
    for flag, text in (
        ("min-confidence", "mean probability of a window's tokens at least"),
        ("max-disagreement", "edits between the two texts, relative to the tokens of the first, at most"),
        ("min-rate", "Chinese characters and words a second at least"),
        ("max-rate", "Chinese characters and words a second at most"),
    ):
        default = getattr(limits, flag.replace("-", "_"))
        p.add_argument(f"--{flag}", type=number, default=default, help=f"{text} [%(default)s]")
    for flag in OF_DECODING:
        kind, text = VALUES[flag]
        default_text = "0, and as --conf with --recogniser" if flag == "ctc-scale" else "as --conf"
        p.add_argument(f"--{flag}", type=kind, help=f"{text} [{default_text}]")
    p.add_argument(
        "--recogniser",
        metavar="FOLDER|NAME",
        help="compare with another recogniser in place of the CTC head: a folder, or a model's name such as large-v3",
    )
    others = p.add_argument_group("options of --recogniser only")
    for flag, (kind, default_value, text) in OF_OTHERS.items():
        others.add_argument(f"--{flag}", type=kind, help=f"{text} [{default_value or 'empty'}]")
    add_executor_options(p, ExecutorConfig())
    return p


def parse_options(argv: Sequence[str]) -> argparse.Namespace:
    """The values of parser()'s options; exits with 2 if they are wrong."""
    p = parser()
    args = p.parse_args(argv)
    names = [flag for flag in OF_OTHERS if getattr(args, flag.replace("-", "_")) is not None]
    if names and args.recogniser is None:
        p.error(f"{', '.join(f'--{name}' for name in names)} goes with --recogniser")
    return args


def select_config(args: argparse.Namespace) -> SelectConfig:
    """The limits of the command line; raises ConfigError if one is out of range."""
    return SelectConfig(args.min_confidence, args.max_disagreement, args.min_rate, args.max_rate)
