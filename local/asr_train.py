#!/usr/bin/env python3
"""Stage 5: train the recogniser on the windows."""

from __future__ import annotations

from lhotse_prep.config import load_config, to_mapping
from lhotse_prep.stages import Input, Stage, run_main, stage_parser
from ml2021.config import AsrConfig


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "asr.yaml", "asr", AsrConfig)
    inputs = [Input(args.data / "lang", 2), Input(args.data / "cuts", 4)]
    stage = Stage("asr-train", args.exp / "asr", inputs, to_mapping(config), resumable=True)
    if stage.is_done():
        return
    from ml2021.asr.train import train_recogniser

    with stage.work() as out:
        train_recogniser(args.data / "cuts", args.data / "lang", out, config)


if __name__ == "__main__":
    run_main(main)
