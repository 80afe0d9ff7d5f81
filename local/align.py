#!/usr/bin/env python3
"""Stage 3: times for every word of every lecture, from an acoustic model that learns on them, or a given one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lhotse_prep.config import load_config, to_mapping
from lhotse_prep.prep_config import StretchConfig
from lhotse_prep.stages import Input, Stage, run_main, stage_parser
from ml2021.config import AlignerConfig


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument(
        "--aligner-model",
        help="align with this and train nothing: the folder of a CTC model (stage 3's aligner/, stage 5's, or Hugging "
        "Face's wav2vec2 kind), or any recogniser's time-stamped words as .ctm or .jsonl [aligner.model of asr.yaml]",
    )
    args = parser.parse_args(argv)
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    if args.aligner_model is not None:
        aligner = replace(aligner, model=args.aligner_model)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    options = {"aligner": to_mapping(aligner), "stretches": to_mapping(stretches)}
    inputs = [Input(args.data / "manifests", 1), *([Input(Path(aligner.model))] if aligner.model else [])]
    stage = Stage("align", args.data / "aligned", inputs, options, resumable=True)
    if stage.is_done():
        return
    from ml2021.asr.align_corpus import align_corpus

    with stage.work() as out:
        align_corpus(args.data / "manifests", args.data / "truth", out, aligner, stretches)


if __name__ == "__main__":
    run_main(main)
