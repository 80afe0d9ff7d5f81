#!/usr/bin/env python3
"""Stage 1: validated Lhotse manifests of lectures or utterances; with `checks.skip_bad`, bad ones are left out."""

from __future__ import annotations

from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.text.config import TextConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, executor_config, run_main, stage_parser
from lhotse_prep.workflow.stage import Input, Stage
from lhotse_prep.workflow.strict_config import load_config


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    add_executor_options(parser, ExecutorConfig())
    args = parser.parse_args(argv)
    text = load_config(args.conf / "prep.yaml", "text", TextConfig)
    checks = load_config(args.conf / "prep.yaml", "checks", CheckConfig)
    options = {"text": text, "checks": checks}
    stage = Stage("manifests", args.data / "manifests", [Input(args.data / "source", 0)], options)
    if stage.is_done():
        return
    from lhotse_prep.manifests.make import make_manifests
    from lhotse_prep.workflow.executor import open_executor

    with stage.work() as out, open_executor(executor_config(args)) as executor:
        make_manifests(args.data / "source", out, CorpusConfig(), text, checks, executor, args.data / "manifests")


if __name__ == "__main__":
    run_main(main)
