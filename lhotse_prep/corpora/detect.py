"""A user's corpus, of any kind, to a source folder."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.audio.convert import SUFFIXES
from lhotse_prep.corpora.folder import import_folder
from lhotse_prep.corpora.plan import is_in_form, plan_folder
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import SEGMENTS, UTTERANCES, is_source
from lhotse_prep.corpora.tables.find_tables import Table, find_tables
from lhotse_prep.corpora.tables.joined import import_joined
from lhotse_prep.corpora.tables.lectures import import_lectures
from lhotse_prep.corpora.tables.rows import typical_seconds, with_rows
from lhotse_prep.corpora.tables.utterances import import_utterances
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.executor import Executor
from lhotse_prep.workflow.files import unwritten_files, whole_folder
from lhotse_prep.workflow.stage import DONE

logger = logging.getLogger(__name__)


def import_corpus(path: Path, source_dir: Path, config: CorpusConfig, limits: CheckConfig, executor: Executor) -> None:
    """Write a source folder from a folder of recordings, or from tables of lectures, of utterances, or of both.

    A source folder with utterances, or with segments, is copied.

    All shards of a table are of the same kind: config.kind or, for "auto", lectures if their rows are long and
    utterances otherwise.

    Args:
      path: a folder of lectures, a .parquet table, a folder of tables, or a source folder.
      source_dir: where to write; a new folder, since what is in it already stays.
      config: how the corpus is read.
      limits: of good audio.
      executor: where recordings are read and converted.
    Raises:
      ConfigError: config names utterances, but path has no tables of lectures.
      DataError: there is no such corpus, it holds tables and lectures and config does not choose, or its data have
        errors.
    """
    if not path.exists():
        raise DataError(f"no corpus {path}; --corpus takes mini, a folder of lectures, or a .parquet table")
    if path.is_file() and path.suffix.lower() != ".parquet":
        raise DataError(f"{path} is neither a folder of lectures nor a .parquet table; give the folder that it is in")
    tables = find_tables(path) if config.kind != "folder" else []
    if not tables:
        if config.utterances:
            raise ConfigError(f"corpus.utterances needs tables of lectures, but {path} has none")
        if config.kind in ("long", "utterances"):
            raise DataError(f"corpus.kind is {config.kind}, but {path} has no .parquet table")
        if path.is_dir() and any((path / name).is_file() for name in (UTTERANCES, SEGMENTS)) and is_source(path):
            shutil.copytree(path, source_dir, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        else:
            import_folder(path, source_dir, limits, executor)
        return
    if config.kind == "auto":
        _require_no_lectures(path)
    tables = with_rows(tables, path)
    kinds = _kinds(tables, config)
    lectures = [t for t in tables if kinds[t] == "long"]
    utterances = [t for t in tables if kinds[t] == "utterances"]
    if config.utterances:
        if not lectures:
            raise ConfigError(f"corpus.utterances needs tables of lectures, but those of {path} hold utterances")
        more = find_tables(Path(config.utterances))
        if not more:
            raise ConfigError(f"corpus.utterances: {config.utterances} has no .parquet table; name a folder of tables")
        utterances += more
    logger.info("%s: %d tables of lectures, %d tables of utterances", path, len(lectures), len(utterances))
    if lectures and utterances:
        import_joined(lectures, utterances, source_dir, limits, executor)
    elif lectures:
        import_lectures(path, source_dir, limits, executor, lectures)
    else:
        import_utterances(path, source_dir, limits, executor, config.keep_dev_in_test, utterances)


@dataclass(frozen=True)
class Source:
    """A source folder that is read: where it is now, and where it will be when it is complete."""

    folder: Path
    place: Path

    def final(self, path: Path) -> Path:
        """Where a file of the folder will be."""
        return path if self.place == self.folder else self.place / path.relative_to(self.folder)


@contextlib.contextmanager
def open_source(
    corpus_dir: Path, output_dir: Path, config: CorpusConfig, limits: CheckConfig, executor: Executor
) -> Iterator[Source]:
    """Yield corpus_dir if it is a source folder already, otherwise a new one, which becomes output_dir/source.

    It is put in place, and the one of an earlier run removed, when the block ends without an exception.

    Reading a shard of 500 MB takes twice that much memory. To save memory this module does not import Lhotse, which
    imports torch; open the source before you import lhotse_prep.manifests.

    Raises:
      DataError: as import_corpus; output_dir/source holds other files than this wrote, or is the corpus itself.
    """
    if corpus_dir.is_dir() and is_source(corpus_dir) and _is_in_form(corpus_dir):
        yield Source(corpus_dir, corpus_dir)
        return
    place = output_dir / "source"
    with new_source(corpus_dir, place) as folder:
        import_corpus(corpus_dir, folder, config, limits, executor)
        yield Source(folder, place)


@contextlib.contextmanager
def new_source(corpus_dir: Path, place: Path) -> Iterator[Path]:
    """Yield a temporary folder for the source folder of a corpus; it becomes `place` at the end of the block.

    Raises:
      DataError: `place` is the corpus or holds it, or holds other files than this wrote.
    """
    if corpus_dir.resolve().is_relative_to(place.resolve()):
        raise DataError(f"{place} would be made anew, and the corpus {corpus_dir} is in it; name another output folder")
    with whole_folder(place) as folder:
        yield folder


def _is_in_form(folder: Path) -> bool:
    """True if a source folder is as it was written here, or a user's whose files have exactly the names of one."""
    if any((folder / name).is_file() for name in (DONE, UTTERANCES, SEGMENTS)) or not unwritten_files(folder):
        return True
    return is_in_form(*plan_folder(folder))


def _require_no_lectures(path: Path) -> None:
    """Raise DataError if a folder with tables also holds a recording with its transcript."""
    names = {p.name.lower() for p in path.iterdir()} if path.is_dir() else set()
    lectures = sorted(n for n in names if n.endswith(SUFFIXES) and f"{n.rpartition('.')[0]}.txt" in names)
    if lectures:
        raise DataError(
            f"{path} holds tables and lectures ({lectures[0]}); choose by corpus.kind (--kind folder for the lectures, "
            "long or utterances for the tables)"
        )


def _kinds(tables: list[Table], config: CorpusConfig) -> dict[Table, str]:
    """{table: "long" or "utterances"}; all shards of a table are of the same kind."""
    if config.kind != "auto":
        return dict.fromkeys(tables, config.kind)
    groups: dict[tuple[Path, str], list[Table]] = {}
    for table in tables:
        groups.setdefault(table.group, []).append(table)
    kinds: dict[Table, str] = {}
    for shards in groups.values():
        seconds = typical_seconds(shards)
        is_long = seconds >= config.long_seconds
        kinds |= dict.fromkeys(shards, "long" if is_long else "utterances")
        rows = "lectures" if is_long else "utterances"
        logger.info("%s: rows of %.1f s (median), read as %s", shards[0].name, seconds, rows)
    return kinds
