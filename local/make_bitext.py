#!/usr/bin/env python3
"""Stage 7: pair the sentences of transcript and translation of every lecture; windows get theirs."""

from __future__ import annotations

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "prep.yaml", "bitext", BitextConfig)
    inputs = [Input(args.data / "manifests", 1), Input(args.data / "aligned", 3), Input(args.data / "cuts", 4)]
    stage = Stage("bitext", args.data / "bitext", inputs, to_mapping(config))
    if stage.is_done():
        return
    from lhotse_prep.bitext.window_translations import write_translated_windows
    from lhotse_prep.bitext.write import make_bitext

    with stage.work() as out:
        make_bitext(args.data, out, config)
        write_translated_windows(args.data / "cuts", out)


if __name__ == "__main__":
    run_main(main)
