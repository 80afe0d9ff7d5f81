#!/usr/bin/env python3
"""Stage 3: times for every word of every lecture, from an acoustic model that learns on the lectures themselves."""

from __future__ import annotations

from lhotse_prep.config import load_config, to_mapping
from lhotse_prep.prep_config import StretchConfig
from lhotse_prep.stages import Input, Stage, run_main, stage_parser
from ml2021.config import AlignerConfig


def main(argv: list[str]) -> None:
    args = stage_parser(__doc__ or "").parse_args(argv)
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    options = {"aligner": to_mapping(aligner), "stretches": to_mapping(stretches)}
    stage = Stage("align", args.data / "aligned", [Input(args.data / "manifests", 1)], options, resumable=True)
    if stage.is_done():
        return
    from ml2021.asr.align_corpus import align_corpus

    with stage.work() as out:
        align_corpus(args.data / "manifests", args.data / "truth", out, aligner, stretches)


if __name__ == "__main__":
    run_main(main)
