#!/usr/bin/env python3
"""Stage 8: train the translator on the sentence pairs."""

from __future__ import annotations

from dataclasses import replace

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.mt.config import MtConfig


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument(
        "--init-from", help="start from this Marian, M2M100 or NLLB model: a folder, or a name on the hub"
    )
    args = parser.parse_args(argv)
    config = load_config(args.conf / "mt.yaml", "mt", MtConfig)
    if args.init_from is not None:
        config = replace(config, init_from=args.init_from)
    stage = Stage("mt-train", args.exp / "mt", [Input(args.data / "bitext", 7)], to_mapping(config), resumable=True)
    if stage.is_done():
        return
    from ml2021.mt.train import train_translator

    with stage.work() as out:
        train_translator(args.data / "bitext", out, config)


if __name__ == "__main__":
    run_main(main)
