#!/usr/bin/env python3
"""Stage 0: bring a corpus into the form of a source folder; `--corpus mini` makes the mini corpus."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, executor_config, run_main, stage_parser
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.stage import Input, Stage, read_done
from lhotse_prep.workflow.strict_config import load_config

logger = logging.getLogger("make_corpus")


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--corpus", default="mini", help="mini, or a folder or table of lectures [%(default)s]")
    add_executor_options(parser, ExecutorConfig())
    args = parser.parse_args(argv)
    if args.corpus == "mini":
        config = load_config(args.conf / "prep.yaml", "mini", MiniConfig)
        stage = Stage("corpus", args.data / "source", [], {"corpus": "mini", "config": config})
        if not (stage.is_done() and (args.data / "truth").is_dir()):
            from lhotse_prep.corpora.mini.make import make_mini

            _require_stage_folder(stage.out_dir)
            with stage.work() as out:
                shutil.rmtree(args.data / "truth", ignore_errors=True)
                make_mini(out, args.data / "truth", config)
        return
    path = Path(args.corpus)
    if not path.exists():
        raise DataError(f"no corpus {path}; --corpus takes mini, a folder of lectures, or a .parquet table")
    corpus = load_config(args.conf / "prep.yaml", "corpus", CorpusConfig)
    checks = load_config(args.conf / "prep.yaml", "checks", CheckConfig)
    read = [path, *([Path(corpus.utterances)] if corpus.utterances else [])]
    inputs = [Input(p) for folder in read for p in (folder, *_linked_folders(folder))]
    stage = Stage("corpus", args.data / "source", inputs, {"corpus": "the user's", "config": corpus, "checks": checks})
    if stage.is_done():
        return
    _require_stage_folder(stage.out_dir)
    from lhotse_prep.corpora.detect import import_corpus
    from lhotse_prep.workflow.executor import open_executor

    with stage.work() as out, open_executor(executor_config(args)) as executor:
        import_corpus(path, out, corpus, checks, executor)


def _linked_folders(folder: Path) -> list[Path]:
    """The links to folders in a folder: tables behind them are read too."""
    return sorted(p for p in folder.rglob("*") if p.is_symlink() and p.is_dir()) if folder.is_dir() else []


def _require_stage_folder(folder: Path) -> None:
    """Raise DataError if the folder, which this stage would replace, holds files that it did not write."""
    if folder.is_dir() and any(folder.iterdir()) and read_done(folder) is None:
        raise DataError(f"{folder} holds files that stage 0 did not write and would remove; name another --data")


if __name__ == "__main__":
    run_main(main)
