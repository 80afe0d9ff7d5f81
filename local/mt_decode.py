#!/usr/bin/env python3
"""Stage 9: translate the test part of the bitext and score it."""

from __future__ import annotations

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.mt.config import TranslateConfig


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "mt.yaml", "translate", TranslateConfig)
    inputs = [Input(args.data / "bitext", 7), Input(args.exp / "mt", 8)]
    stage = Stage("mt-decode", args.exp / "mt" / "decode", inputs, to_mapping(config))
    if stage.is_done():
        return
    from ml2021.mt.decode import decode_bitext

    with stage.work() as out:
        decode_bitext(args.data / "bitext" / "test.jsonl", args.exp / "mt" / "marian", out, config)


if __name__ == "__main__":
    run_main(main)
