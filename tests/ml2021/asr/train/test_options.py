"""The command line of the training: values over those of asr.yaml, what makes no sense is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import config_of, options_of, parser


def arguments(conf: Path, *options: str) -> list[str]:
    return ["--exp-dir", "e", "--manifest-dir", "c", "--lang-dir", "l", "--conf", str(conf), *options]


def test_options_override_the_configuration(conf: Path, config: AsrConfig) -> None:
    args = parser().parse_args(
        arguments(
            conf,
            "--base-lr",
            "1e-4",
            "--max-duration",
            "30",
            "--use-bf16",
            "--num-epochs",
            "7",
            "--on-the-fly-feats",
            "1",
            "--scan-for-oom-batches",
            "False",
            "--noise-cuts",
            "n.jsonl.gz",
        )
    )
    found = config_of(args)
    train = replace(config.train, base_lr=1e-4, num_epochs=7, precision="bf16", scan_worst_batches=False)
    data = replace(config.data, max_duration=30.0, on_the_fly_feats=True, noise_cuts="n.jsonl.gz")
    assert found == replace(config, train=train, data=data)


def test_streaming_options_are_icefalls(conf: Path, config: AsrConfig) -> None:
    options = ("--causal", "1", "--chunk-size", "16,32,-1", "--left-context-frames", "64")
    found = config_of(parser().parse_args(arguments(conf, *options))).model.encoder
    causal = {"causal": True, "chunk_size": (16, 32, -1), "left_context_frames": (64,)}
    assert found == replace(config.model.encoder, **causal)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--causal", "1", "--chunk-size", "16,long"), r"chunk_size\[1\] must be of type int, got 'long'"),
        (("--causal", "1", "--chunk-size", "17"), "chunk_size must be -1 or a multiple"),
        (("--num-epochs", "many"), "train.num_epochs must be of type int, got 'many'"),
        (("--max-duration", "0"), "max_duration must be > 0 s"),
        (("--use-fp16", "1", "--use-bf16", "1"), "not both"),
        (("--world-size", "2"), "torchrun --nproc-per-node 2"),
        (("--init-modules", "encoder"), "needs --init-from"),
        (("--start-epoch", "0"), "--start-epoch must be >= 1"),
        (("--start-epoch", "2", "--start-batch", "5"), "--start-batch"),
    ],
)
def test_options_that_make_no_sense_are_refused(conf: Path, options: tuple[str, ...], message: str) -> None:
    args = parser().parse_args(arguments(conf, *options))
    with pytest.raises(ConfigError, match=message):
        options_of(args, world_size=1)
        config_of(args)


def test_unknown_option_is_an_error_and_underscores_are_hyphens(tone_corpus, conf, project, tmp_path):  # type: ignore[no-untyped-def]
    command = [sys.executable, "-m", "ml2021.asr.train", "--exp_dir", str(tmp_path), "--manifest_dir", "c"]
    environment = os.environ | {"PYTHONPATH": f"{project}:{project}/egs"}
    result = subprocess.run(
        [*command, "--lang-dir", "l", "--frobnicate", "1"], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 2 and "unrecognized arguments: --frobnicate" in result.stderr


def test_start_names_a_checkpoint(conf: Path) -> None:
    def start(*options: str) -> str | None:
        return options_of(parser().parse_args(arguments(conf, *options)), 1).start

    assert start() is None and start("--start-epoch", "1") is None
    assert start("--start-epoch", "4") == "epoch-3.pt" and start("--start-batch", "900") == "checkpoint-900.pt"
