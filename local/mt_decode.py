#!/usr/bin/env python3
"""Stage 9: translate the test part of the bitext and score it."""

from __future__ import annotations

from pathlib import Path

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config
from ml2021.mt.config import MT_FILES, TranslateConfig, as_in_0_2


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "mt.yaml", "translate", TranslateConfig)
    inputs = [Input(args.data / "bitext", 7, ("test.jsonl",)), Input(args.exp / "mt", 8, MT_FILES)]
    if config.comet_model and Path(config.comet_model).is_file():
        inputs.append(Input(Path(config.comet_model), is_new=True))
    options = {"translate": config, "comet": bool(config.comet_model)}
    old_options = as_in_0_2(config, args.exp / "mt")
    stage = Stage("mt-decode", args.exp / "mt" / "decode", inputs, options, old_options=old_options)
    if stage.is_done():
        return
    from ml2021.mt.decode import decode_bitext

    with stage.work() as out:
        decode_bitext(args.data / "bitext" / "test.jsonl", args.exp / "mt" / "marian", out, config)


if __name__ == "__main__":
    run_main(main)
