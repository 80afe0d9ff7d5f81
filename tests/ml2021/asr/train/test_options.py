"""The command line of training overrides values of asr.yaml, and contradictory options are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.train.config import AsrConfig
from ml2021.asr.train.options import (
    config_of,
    decode_section,
    options_of,
    parse_arguments,
    parser,
    read_asr_config,
    write_asr_config,
)


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
    overridden = config_of(args)
    train = replace(config.train, base_lr=1e-4, num_epochs=7, precision="bf16", scan_worst_batches=False)
    data = replace(config.data, max_duration=30.0, on_the_fly_feats=True, noise_cuts="n.jsonl.gz")
    assert overridden == replace(config, train=train, data=data)


def test_streaming_options_are_icefalls(conf: Path, config: AsrConfig) -> None:
    options = ("--causal", "1", "--chunk-size", "16,32,-1", "--left-context-frames", "64")
    encoder = config_of(parser().parse_args(arguments(conf, *options))).model.encoder
    causal = {"causal": True, "chunk_size": (16, 32, -1), "left_context_frames": (64,)}
    assert encoder == replace(config.model.encoder, **causal)  # type: ignore[arg-type]


def test_options_of_cr_ctc_are_icefalls(conf: Path, config: AsrConfig) -> None:
    options = ("--use-cr-ctc", "1", "--cr-loss-scale", "0.3", "--time-mask-ratio", "2", "--cr-warm-step", "50")
    overridden = config_of(parser().parse_args(arguments(conf, *options)))
    model = replace(config.model, use_cr_ctc=True, cr_loss_scale=0.3, cr_warm_step=50)
    assert overridden == replace(config, model=model, data=replace(config.data, time_mask_ratio=2.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--causal", "1", "--chunk-size", "16,long"), r"chunk_size\[1\] must be of type int, got 'long'"),
        (("--causal", "1", "--chunk-size", "17"), "chunk_size must be -1 or a multiple"),
        (("--num-epochs", "many"), "train.num_epochs must be of type int, got 'many'"),
        (("--use-cr-ctc", "1", "--ctc-loss-scale", "0"), "use_cr_ctc .* needs ctc_loss_scale > 0"),
        (("--max-duration", "0"), "max_duration must be > 0 s"),
        (("--use-fp16", "1", "--use-bf16", "1"), "not both"),
        (("--world-size", "2"), "torchrun --nproc-per-node 2"),
        (("--init-modules", "encoder"), "needs --init-from"),
        (("--start-epoch", "0"), "--start-epoch must be >= 1"),
        (("--start-epoch", "2", "--start-batch", "5"), "--start-batch"),
    ],
)
def test_invalid_options_are_refused(conf: Path, options: tuple[str, ...], message: str) -> None:
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


def test_conf_must_be_given(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse_arguments(["--exp-dir", "e", "--manifest-dir", "c", "--lang-dir", "l"])
    assert exit_info.value.code == 2
    assert "error: --conf is missing: name the folder with your asr.yaml" in capsys.readouterr().err
    assert parse_arguments(arguments(conf)).conf == conf


def test_cuts_is_another_name_of_manifest_dir(conf: Path) -> None:
    args = parse_arguments(["--exp-dir", "e", "--cuts", "c", "--lang-dir", "l", "--conf", str(conf)])
    assert args.manifest_dir == Path("c")


def test_section_decode_is_saved_for_decoding(conf: Path, config: AsrConfig, tmp_path: Path) -> None:
    """It is not part of the configuration that is read back, and nothing is saved without a decode.yaml."""
    assert options_of(parser().parse_args(arguments(conf)), 1).decode is None
    (tmp_path / "decode.yaml").write_text("decode:\n  blank_penalty: 1.5\n  long_form: {chunk: 20}\n")
    section = {"blank_penalty": 1.5, "long_form": {"chunk": 20}}
    assert options_of(parser().parse_args(arguments(tmp_path)), 1).decode == section
    for decode in (section, None):
        write_asr_config(tmp_path, config, decode)
        assert json.loads((tmp_path / "config.json").read_text()).get("decode") == decode
        assert read_asr_config(tmp_path) == config
    (tmp_path / "decode.yaml").write_text("decode: {beam: 1}\ndecode: {beam: 2}\n")
    with pytest.raises(ConfigError, match="'decode' appears twice"):
        decode_section(tmp_path)
    (tmp_path / "decode.yaml").write_text("decoding: {beam: 1}\n")
    with pytest.raises(ConfigError, match="unknown section decoding"):
        decode_section(tmp_path)


def test_a_file_beside_asr_yaml_may_be_named(conf: Path, config: AsrConfig, tmp_path: Path) -> None:
    (tmp_path / "finetune.yaml").write_text("asr: {lora: {rank: 3}, train: {num_epochs: 2}}")
    (tmp_path / "decode.yaml").write_text("decode: {beam_size: 7}")
    tuned = config_of(parse_arguments(arguments(tmp_path / "finetune.yaml")))
    assert (tuned.lora.rank, tuned.train.num_epochs) == (3, 2)
    assert decode_section(tmp_path / "finetune.yaml") == {"beam_size": 7} == decode_section(tmp_path)


@pytest.mark.parametrize(("in_layout", "asked", "result"), [(0, "4", 4), (8, "4", 8), (8, "0", 8), (0, "0", 0)])
def test_a_layout_with_adapters_keeps_them(
    conf: Path, config: AsrConfig, tmp_path: Path, in_layout: int, asked: str, result: int
) -> None:
    model = replace(config.model, adapter_dim=in_layout)
    (tmp_path / "config.json").write_text(json.dumps(to_mapping(replace(config, model=model))))
    (tmp_path / "asr.yaml").write_text(f"asr: {{model: {{adapter_dim: {asked}}}}}")
    chosen = config_of(parse_arguments(arguments(tmp_path, "--model", str(tmp_path / "config.json"))))
    assert chosen.model.adapter_dim == result and chosen.model.encoder == config.model.encoder


def test_without_initial_weights_no_part_learns_slower(conf: Path, tmp_path: Path) -> None:
    text = (conf / "asr.yaml").read_text()
    assert text.count("\nasr:\n") == 1
    slow = "    lr_scale_modules: [encoder]\n    lr_scales: [0.5]\n"
    head, tail = text.split("\nasr:\n")
    assert tail.count("  train:\n") == 1
    (tmp_path / "asr.yaml").write_text(head + "\nasr:\n" + tail.replace("  train:\n", "  train:\n" + slow))
    given = ["--init-from", "a.pt"], ["--lr-scale-modules", "encoder", "--lr-scales", "0.5"]
    assert config_of(parse_arguments(arguments(tmp_path))).train.lr_scales == ()
    for options in given:
        assert config_of(parse_arguments(arguments(tmp_path, *options))).train.lr_scales == (0.5,)
