"""The data set's long form on the Hugging Face hub, a table with one row a lecture, -> a source folder.

One row is in memory at a time, as Arrow holds it; its audio goes to disk as it is, and is converted from there.
"""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import add_lecture
from lhotse_prep.corpora.source.splits import PARTS, check_name, default_splits, write_splits
from lhotse_prep.corpora.tables.rows import find_tables, row_places
from lhotse_prep.corpora.tables.store import repeated_files, require_rows, store_rows, unique_ids
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)


def import_parquet(
    path: Path,
    source_dir: Path,
    limits: CheckConfig | None = None,
    executor: Executor | None = None,
    tables: list[Path] | None = None,
) -> None:
    """Write the lectures of a table to a source folder.

    The table's own parts (train-*.parquet, dev-*, test-*) are kept where there are several; a table of one part is
    split by lecture.

    Args:
      path: a table or a folder of tables.
      source_dir: where to write.
      limits: of what passes for good audio.
      executor: where row groups are read.
      tables: those of path that hold lectures; all where None.
    Raises:
      DataError: no table, a column or value is missing, a lecture occurs twice; audio that cannot be used, where
        limits.skip_bad is off.
    """
    limits = limits or CheckConfig()
    tables = find_tables(path) if tables is None else tables
    places = [p for table in tables for p in row_places(table)]
    require_rows(tables, places, path)
    repeated = dict(repeated_files(places, "lecture", across_parts=True))
    ids = [None if i in repeated else name for i, name in enumerate(unique_ids(places))]
    for name in ids:
        if name is not None:
            check_name(name)
    findings: list[Finding] = list(repeated.values())
    settle(findings, len(places), limits.policy(), source_dir)  # before hours of work, not after
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for row in store_rows(places, ids, source_dir, "lecture", limits, executor or SerialExecutor()):
        if isinstance(row, Finding):
            findings.append(row)
            continue
        add_lecture(source_dir, row.id, None, row.transcription, row.translation)
        parts[row.place.part].append(row.id)
    settle(findings, len(places), limits.policy(), source_dir)
    if sum(bool(lectures) for lectures in parts.values()) == 1:
        parts = default_splits([name for names in parts.values() for name in names])
        logger.info(
            "the table has one part; its lectures are split by lecture: %s",
            ", ".join(f"{p} {len(x)}" for p, x in parts.items()),
        )
    write_splits(source_dir, parts)
