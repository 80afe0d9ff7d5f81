"""A table of lectures, such as the data set's long form on the Hugging Face hub, to a source folder.

Only one row is in memory at a time, as Arrow holds it; its audio is written to disk unchanged and converted from there.
"""

from __future__ import annotations

import logging
from pathlib import Path

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import add_lecture
from lhotse_prep.corpora.source.splits import PARTS, check_name, default_splits, write_splits
from lhotse_prep.corpora.tables.row_ids import repeated_files, unique_ids
from lhotse_prep.corpora.tables.rows import find_tables, require_rows, row_places
from lhotse_prep.corpora.tables.store_rows import store_rows
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)


def import_lectures(
    path: Path,
    source_dir: Path,
    limits: CheckConfig | None = None,
    executor: Executor | None = None,
    tables: list[Path] | None = None,
) -> None:
    """Write the lectures of a table to a source folder.

    Several parts (train-*.parquet, dev-*, test-*) are kept; a single part is split by lecture.

    Args:
      path: a table or a folder of tables.
      source_dir: where to write.
      limits: of good audio; the defaults if None.
      executor: where row groups are read; this process if None.
      tables: the tables of path that hold lectures; all if None.
    Raises:
      DataError: no table, a missing column or value; a lecture that occurs twice or audio that cannot be used, unless
        limits.skip_bad.
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
    settle(findings, len(places), limits.policy(), source_dir)  # before the conversion, which can take hours
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
            "the table has only one part, which is split by lecture: %s",
            ", ".join(f"{p} {len(x)}" for p, x in parts.items()),
        )
    write_splits(source_dir, parts)
