#!/usr/bin/env python3
"""Stage 8: train the translator on the sentence pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.entry import run_main, stage_parser
from lhotse_prep.workflow.errors import Ml2021Error
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import from_mapping, load_config, to_mapping
from ml2021.mt.config import MtConfig, TranslateConfig, require_same_context
from ml2021.training.config import CONTINUED
from ml2021.training.launch import add_process_options, follow, on_cpu_by_default, processes_of, run_processes


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument(
        "--init-from", help="start from this Marian, M2M100 or NLLB model: a folder, or a name on the hub"
    )
    add_process_options(parser)
    args = parser.parse_args(argv)
    processes = processes_of(args)
    if processes.follows:
        follow(processes)
        return
    config = load_config(args.conf / "mt.yaml", "mt", MtConfig)
    translate = load_config(args.conf / "mt.yaml", "translate", TranslateConfig)
    require_same_context(config, translate, args.conf / "mt.yaml")
    if args.init_from is not None:
        config = replace(config, init_from=args.init_from)
    start = Path(config.init_from)
    from_folder = bool(config.init_from) and start.is_dir()
    stage = Stage(
        "mt-train",
        args.exp / "mt",
        [
            Input(args.data / "bitext", 7, ("train.jsonl", "dev.jsonl")),
            *([Input(start, is_new=True)] if from_folder else []),
        ],
        _options(config),
        resumable=True,
        redo=args.redo,
        continued=[f"mt.train.{name}" for name in CONTINUED],
        old_options=to_mapping(config),
        read_options=_read_options,
    )
    if stage.is_done():
        return
    from ml2021.mt.train import arguments_of, train_translator

    processes = on_cpu_by_default(processes, args, config.train.num_processes)
    with stage.work() as out:
        if processes.size > 1:
            run_processes("ml2021.mt.train", arguments_of(args.data / "bitext", out, config), processes)
        else:
            train_translator(args.data / "bitext", out, config)


def _options(config: MtConfig) -> dict[str, Any]:
    """The configuration, with the name on the hub of the model to start from; the content of a folder is an input."""
    from_folder = bool(config.init_from) and Path(config.init_from).is_dir()
    return {"mt": config, "init_from": "a folder" if from_folder else config.init_from}


def _read_options(folder: Path) -> dict[str, Any] | None:
    """Of a training that left no `.key`: from its config.json, if there are checkpoints to go on from."""
    from ml2021.training.checkpoint import training_checkpoints

    path = folder / "config.json"
    if not training_checkpoints(folder) or not path.is_file():
        return None
    try:
        return _options(from_mapping(json.loads(path.read_text(encoding="utf-8")), MtConfig, str(path)))
    except (Ml2021Error, ValueError):
        return None


if __name__ == "__main__":
    run_main(main)
