"""A user's corpus, of any kind, to a source folder."""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse_prep.corpora.folder import import_folder
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import is_source
from lhotse_prep.corpora.tables.joined import import_joined
from lhotse_prep.corpora.tables.lectures import import_lectures
from lhotse_prep.corpora.tables.rows import find_tables, part_of, typical_seconds
from lhotse_prep.corpora.tables.utterances import import_utterances
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.findings import REJECTED

logger = logging.getLogger(__name__)


def import_corpus(path: Path, source_dir: Path, config: CorpusConfig, limits: CheckConfig, executor: Executor) -> None:
    """Write a source folder from a folder of recordings, or from tables of lectures, of utterances, or of both.

    All tables of a part in one folder are of the same kind: config.kind or, for "auto", lectures if their rows
    are long and utterances otherwise.

    Args:
      path: a folder of lectures, a .parquet table, or a folder of tables.
      source_dir: where to write.
      config: how the corpus is read.
      limits: of good audio.
      executor: where recordings are read and converted.
    Raises:
      ConfigError: config names utterances, but path has no tables of lectures.
      DataError: there is no such corpus, or its data have errors.
    """
    if not path.exists():
        raise DataError(f"no corpus {path}; --corpus takes mini, a folder of lectures, or a .parquet table")
    if path.is_file() and path.suffix != ".parquet":
        raise DataError(f"{path} is neither a folder of lectures nor a .parquet table; give the folder that it is in")
    (source_dir / REJECTED).unlink(missing_ok=True)  # from an earlier run
    tables = find_tables(path) if config.kind != "folder" else []
    if not tables:
        if config.utterances:
            raise ConfigError(f"corpus.utterances needs tables of lectures, but {path} has none")
        if config.kind in ("long", "utterances"):
            raise DataError(f"corpus.kind is {config.kind}, but {path} has no .parquet table")
        import_folder(path, source_dir, limits, executor)
        return
    kinds = _kinds(tables, config)
    lectures = [t for t in tables if kinds[t] == "long"]
    utterances = [t for t in tables if kinds[t] == "utterances"]
    if config.utterances:
        utterances += find_tables(Path(config.utterances))
    logger.info("%s: %d tables of lectures, %d tables of utterances", path, len(lectures), len(utterances))
    if lectures and utterances:
        import_joined(lectures, utterances, source_dir, limits, executor)
    elif lectures:
        import_lectures(path, source_dir, limits, executor, lectures)
    else:
        import_utterances(path, source_dir, limits, executor, config.keep_dev_in_test, utterances)


def as_source(
    corpus_dir: Path, output_dir: Path, config: CorpusConfig, limits: CheckConfig, executor: Executor
) -> Path:
    """Return corpus_dir if it is a source folder already; otherwise make output_dir/source from it and return that.

    Reading a shard of 500 MB takes twice that much memory. To save memory this module does not import Lhotse, which
    imports torch; call it before you import lhotse_prep.manifests.
    """
    if corpus_dir.is_dir() and is_source(corpus_dir):
        return corpus_dir
    import_corpus(corpus_dir, output_dir / "source", config, limits, executor)
    return output_dir / "source"


def _kinds(tables: list[Path], config: CorpusConfig) -> dict[Path, str]:
    """{table: "long" or "utterances"}; all shards of a part in one folder are of the same kind."""
    if config.kind != "auto":
        return dict.fromkeys(tables, config.kind)
    groups: dict[tuple[Path, str], list[Path]] = {}
    for table in tables:
        groups.setdefault((table.parent, part_of(table)), []).append(table)
    kinds: dict[Path, str] = {}
    for shards in groups.values():
        seconds = typical_seconds(shards)
        is_long = seconds >= config.long_seconds
        kinds |= dict.fromkeys(shards, "long" if is_long else "utterances")
        rows = "lectures" if is_long else "utterances"
        logger.info("%s: rows of %.1f s (median), read as %s", shards[0], seconds, rows)
    return kinds
