#!/usr/bin/env python3
"""Stage 6: recognise the test windows and score them."""

from __future__ import annotations

from lhotse_prep.config import load_config, to_mapping
from lhotse_prep.stages import Input, Stage, run_main, stage_parser, write_json
from ml2021.config import DecodeConfig


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    config = load_config(args.conf / "decode.yaml", "decode", DecodeConfig)
    inputs = [Input(args.data / "cuts", 4), Input(args.exp / "asr", 5)]
    stage = Stage("asr-decode", args.exp / "asr" / config.decoding_method, inputs, to_mapping(config))
    if stage.is_done():
        return
    from ml2021.asr.decode import decode_part

    with stage.work() as out:
        rate = decode_part(args.exp / "asr", args.data / "cuts", "test", out, config, None, config.decoding_method)
        write_json(out / "scores.json", {"mer_windows": rate.percents()})


if __name__ == "__main__":
    run_main(main)
