#!/usr/bin/env python3
"""Stage 3: times for every word of every lecture, from an acoustic model that learns on them, or from a given model.

The model of --aligner-model is remembered in DATA/aligned: later runs without that option use it again.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse_prep.alignment.config import TIMES_VERSION, StretchConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, executor_config, run_main, stage_parser
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.stage import Input, Stage, recorded_audio
from lhotse_prep.workflow.strict_config import load_config, to_mapping
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.training.launch import add_process_options, follow, on_cpu_by_default, processes_of

GIVEN = "given.json"  # in data/C/aligned: the value of --aligner-model
# what is read of a model's folder, which may also hold checkpoints and results of decoding
MODEL_FILES = (
    *("pretrained.pt", "config.json", "lang/*", "units.*"),  # ours
    *("*.safetensors", "*.bin", "*.index.json", "vocab*", "tokenizer*", "special_tokens*", "added_tokens*"),
    *("preprocessor*", "merges.txt"),
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
logger = logging.getLogger("align")


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument(
        "--aligner-model",
        help="align with this instead of training: the folder of a CTC model (stage 3's aligner/, stage 5's, or a "
        "Hugging Face model like wav2vec2), the folder or name of any recogniser or of Qwen's forced aligner, or words "
        "with times as .ctm or .jsonl; none: train one "
        "[the value of the last run that had one, else aligner.model of asr.yaml]",
    )
    add_executor_options(parser, ExecutorConfig())
    parser.set_defaults(num_jobs=None)  # that of the training
    add_process_options(parser)
    args = parser.parse_args(argv)
    processes = processes_of(args)
    if processes.follows:  # the training of the aligner
        follow(processes)
        return
    aligner = load_config(args.conf / "asr.yaml", "aligner", AlignerConfig)
    processes = on_cpu_by_default(processes, args, aligner.train.num_processes)
    if args.num_jobs is None:
        args.num_jobs = 1 if processes.on_gpus else processes.per_node
    executor = executor_config(args)
    model = args.aligner_model if args.aligner_model is not None else _remembered(args.data / "aligned" / GIVEN)
    if model is not None:
        aligner = replace(aligner, model="" if model == "none" else model)
    stretches = load_config(args.conf / "prep.yaml", "stretches", StretchConfig)
    is_name = bool(aligner.model) and _is_hub_name(aligner.model)
    kind = f"given: {aligner.model}" if is_name else "given" if aligner.model else "none"
    options = {"aligner_model": kind, "aligner": aligner, "stretches": stretches, "times_version": TIMES_VERSION}
    is_model = (Path(aligner.model) / "config.json").is_file()
    patterns = MODEL_FILES if is_model else ("*",)
    given = [Input(Path(aligner.model), files=patterns)] if aligner.model and not is_name else []
    inputs = [Input(args.data / "manifests", 1), *given, *recorded_audio(args.data)]
    # with the version, so that no times of version 0.2 count
    old_options = {"aligner": _as_before(aligner), "stretches": to_mapping(stretches), "times_version": TIMES_VERSION}
    out_dir = args.data / "aligned"
    stage = Stage("align", out_dir, inputs, options, resumable=True, redo=args.redo, old_options=old_options)
    if stage.is_done():
        return
    from lhotse_prep.workflow.executor import open_executor
    from ml2021.asr.aligner.align_corpus import align_corpus

    with stage.work() as out, open_executor(executor) as opened:
        if model is not None:
            write_json(out / GIVEN, {"aligner_model": model})
        align_corpus(args.data / "manifests", args.data / "truth", out, aligner, stretches, opened, processes)


def _is_hub_name(model: str) -> bool:
    """Whether it is not here, and may be the name of a published model, such as large-v3 or OWNER/NAME."""
    return (
        not Path(model).exists()
        and _HUB_NAME.fullmatch(model) is not None
        and (Path(model).suffix not in (".ctm", ".jsonl"))
    )


def _as_before(aligner: AlignerConfig) -> dict[str, Any]:
    """The options as version 0.2 had them: without masks there was no time warp either, whatever its factor."""
    options = to_mapping(aligner)
    for name in ("refine", "train_hours", "guided_steps"):  # there were none, nor training from Shar
        del options[name]
    options["data"] = {name: value for name, value in options["data"].items() if value or not name.startswith("shar_")}
    augment = options["data"]["spec_augment"]
    if not augment["num_frame_masks"] and not augment["num_feature_masks"]:
        augment["time_warp_factor"] = SpecAugmentConfig.time_warp_factor
    return options


def _remembered(path: Path) -> str | None:
    """The value of --aligner-model when it was last given; None if it never was."""
    try:
        model = str(json.loads(path.read_text(encoding="utf-8"))["aligner_model"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path} is damaged; remove it, and give --aligner-model again") from e
    if model != "none" and not Path(model).exists() and not _is_hub_name(model):
        raise DataError(
            f"{path.parent} was made with --aligner-model {model}, which is gone: restore it, name another, or train "
            "one with --aligner-model none"
        )
    if model != "none":
        logger.info("--aligner-model %s, as in the last run (--aligner-model none trains one)", model)
    return model


if __name__ == "__main__":
    run_main(main)
