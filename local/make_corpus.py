#!/usr/bin/env python3
"""Stage 0: bring a corpus into the form of a source folder; `--corpus mini` makes the mini corpus."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from lhotse_prep.corpora.mini.config import MiniConfig
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.workflow.config import ExecutorConfig
from lhotse_prep.workflow.entry import add_executor_options, executor_config, run_main, stage_parser
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.stage import Stage
from lhotse_prep.workflow.strict_config import load_config, to_mapping

logger = logging.getLogger("make_corpus")


def main(argv: list[str]) -> None:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--corpus", default="mini", help="mini, or a folder or table of lectures [%(default)s]")
    add_executor_options(parser, ExecutorConfig())
    args = parser.parse_args(argv)
    if args.corpus == "mini":
        config = load_config(args.conf / "prep.yaml", "mini", MiniConfig)
        stage = Stage("corpus", args.data / "source", [], {"corpus": "mini", "config": to_mapping(config)})
        if not (stage.is_done() and (args.data / "truth").is_dir()):
            from lhotse_prep.corpora.mini.make import make_mini

            with stage.work() as out:
                shutil.rmtree(args.data / "truth", ignore_errors=True)
                make_mini(out, args.data / "truth", config)
        return
    path = Path(args.corpus)
    if not path.exists():
        raise DataError(f"no corpus {path}; --corpus takes mini, a folder of lectures, or a .parquet table")
    corpus = load_config(args.conf / "prep.yaml", "corpus", CorpusConfig)
    checks = load_config(args.conf / "prep.yaml", "checks", CheckConfig)
    options: dict[str, Any] = {"corpus": str(path.resolve()), "files": _fingerprint(path)}
    options |= {"config": to_mapping(corpus), "checks": to_mapping(checks)}
    stage = Stage("corpus", args.data / "source", [], options)
    if stage.is_done():
        return
    from lhotse_prep.corpora.detect import import_corpus
    from lhotse_prep.workflow.executor import open_executor

    with stage.work() as out, open_executor(executor_config(args)) as executor:
        import_corpus(path, out, corpus, checks, executor)


def _fingerprint(path: Path) -> list[tuple[str, int, int]]:
    """(path, bytes, modification time in ns) of each file; hashing a large corpus would take too long."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]


if __name__ == "__main__":
    run_main(main)
