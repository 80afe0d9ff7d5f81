#!/usr/bin/env python3
"""Stage 4: cut the lectures into windows at pauses, and compute 80-bin features."""

from __future__ import annotations

from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, executor_config, run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage, recorded_audio
from lhotse_prep.workflow.strict_config import load_config, to_mapping


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    add_executor_options(parser, ExecutorConfig())
    args = parser.parse_args(argv)
    config = load_config(args.conf / "prep.yaml", "windows", WindowConfig)
    aligned = Input(args.data / "aligned", 3, ("ml2021_supervisions_*",))
    inputs = [Input(args.data / "manifests", 1), aligned, *recorded_audio(args.data)]
    stage = Stage("windows", args.data / "cuts", inputs, {"windows": config}, old_options=to_mapping(config))
    if stage.is_done():
        return
    from lhotse_prep.windows.write import write_windows
    from lhotse_prep.workflow.executor import open_executor

    with stage.work() as out, open_executor(executor_config(args)) as executor:
        write_windows(args.data / "manifests", args.data / "aligned", out, args.data / "cuts", config, executor)


if __name__ == "__main__":
    run_main(main)
