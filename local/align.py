#!/usr/bin/env python3
"""Stage 3: times for every word of every lecture, from an acoustic model that learns on them, or a given one.

A model given with --aligner-model is remembered in DATA/aligned: later runs that name none take it again.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.aligner.config import AlignerConfig

GIVEN = "given.json"  # in data/C/aligned: what the command line named
logger = logging.getLogger("align")


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument(
        "--aligner-model",
        help="align with this and train nothing: the folder of a CTC model (stage 3's aligner/, stage 5's, or Hugging "
        "Face's wav2vec2 kind), or any recogniser's time-stamped words as .ctm or .jsonl; none: train one [what was "
        "given the last time, else aligner.model of asr.yaml]",
    )
    args = parser.parse_args(argv)
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    given = args.aligner_model if args.aligner_model is not None else _remembered(args.data / "aligned" / GIVEN)
    if given is not None:
        aligner = replace(aligner, model="" if given == "none" else given)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    options = {"aligner": to_mapping(aligner), "stretches": to_mapping(stretches)}
    inputs = [Input(args.data / "manifests", 1), *([Input(Path(aligner.model))] if aligner.model else [])]
    stage = Stage("align", args.data / "aligned", inputs, options, resumable=True)
    if stage.is_done():
        return
    from ml2021.asr.aligner.align_corpus import align_corpus

    with stage.work() as out:
        if given is not None:
            write_json(out / GIVEN, {"aligner_model": given})
        align_corpus(args.data / "manifests", args.data / "truth", out, aligner, stretches)


def _remembered(path: Path) -> str | None:
    """What --aligner-model was the last time that it was given; None where it never was."""
    try:
        model = str(json.loads(path.read_text(encoding="utf-8"))["aligner_model"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path} is damaged; remove it, and name the model again with --aligner-model") from e
    if model != "none" and not Path(model).exists():
        raise DataError(
            f"{path.parent} was made with --aligner-model {model}, which is gone: put it back, name another, or have "
            "one trained with --aligner-model none"
        )
    if model != "none":
        logger.info("--aligner-model %s, as the last time (--aligner-model none has one trained)", model)
    return model


if __name__ == "__main__":
    run_main(main)
