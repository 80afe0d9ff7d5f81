"""A corpus of the user's, whatever it is, -> a source folder."""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse_prep.corpora.folder import import_folder
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import is_source
from lhotse_prep.corpora.tables.joined import import_joined
from lhotse_prep.corpora.tables.lectures import import_parquet
from lhotse_prep.corpora.tables.rows import find_tables, part_of, typical_seconds
from lhotse_prep.corpora.tables.utterances import import_utterances
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.findings import REJECTED

logger = logging.getLogger(__name__)


def import_corpus(path: Path, source_dir: Path, config: CorpusConfig, limits: CheckConfig, executor: Executor) -> None:
    """Write a source folder from a folder of recordings, or from tables of lectures, of utterances, or of both.

    Tables of one folder are of one kind, told by the length of their recordings where config does not name it.

    Raises:
      DataError: no such corpus; whatever is wrong with it.
    """
    if not path.exists():
        raise DataError(f"no corpus {path}; --corpus takes mini, a folder of lectures, or a .parquet table")
    if path.is_file() and path.suffix != ".parquet":
        raise DataError(f"{path} is neither a folder of lectures nor a .parquet table; name the folder that it is in")
    (source_dir / REJECTED).unlink(missing_ok=True)  # of an earlier run
    tables = find_tables(path) if config.kind != "folder" else []
    if not tables:
        if config.utterances:
            raise ConfigError(f"corpus.utterances goes with tables of lectures, and {path} has none")
        if config.kind in ("long", "utterances"):
            raise DataError(f"corpus.kind is {config.kind}, and {path} has no .parquet table")
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
        import_parquet(path, source_dir, limits, executor, lectures)
    else:
        import_utterances(path, source_dir, limits, executor, config.keep_dev_in_test, utterances)


def as_source(
    corpus_dir: Path, output_dir: Path, config: CorpusConfig, limits: CheckConfig, executor: Executor
) -> Path:
    """corpus_dir where it is a source folder already, else output_dir/source, made from it.

    A shard of 500 MB takes twice that much memory while it is read. This module does not import Lhotse, and so not
    torch; call it before lhotse_prep.manifests is imported.
    """
    if corpus_dir.is_dir() and is_source(corpus_dir):
        return corpus_dir
    import_corpus(corpus_dir, output_dir / "source", config, limits, executor)
    return output_dir / "source"


def _kinds(tables: list[Path], config: CorpusConfig) -> dict[Path, str]:
    """long or utterances of each table; the shards of a folder and part are looked at together."""
    if config.kind != "auto":
        return dict.fromkeys(tables, config.kind)
    groups: dict[tuple[Path, str], list[Path]] = {}
    for table in tables:
        groups.setdefault((table.parent, part_of(table)), []).append(table)
    kinds: dict[Path, str] = {}
    for own in groups.values():
        seconds = typical_seconds(own)
        kinds |= dict.fromkeys(own, "long" if seconds >= config.long_seconds else "utterances")
        logger.info(
            "%s: rows of %.1f s (median), taken for %s",
            own[0],
            seconds,
            "lectures" if kinds[own[0]] == "long" else "utterances",
        )
    return kinds
