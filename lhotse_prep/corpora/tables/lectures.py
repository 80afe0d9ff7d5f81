"""A table of lectures, such as the data set's long form on the Hugging Face hub, to a source folder.

Only one row is in memory at a time, as Arrow holds it; its audio is written to disk unchanged and converted from there.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import add_lecture
from lhotse_prep.corpora.source.splits import PARTS, check_lecture_name, default_splits, write_splits
from lhotse_prep.corpora.source.texts import check_same_texts, text_digest
from lhotse_prep.corpora.tables.find_tables import Table, find_tables, with_parts
from lhotse_prep.corpora.tables.row_ids import repeated_ids, unique_ids
from lhotse_prep.corpora.tables.rows import require_rows, row_places
from lhotse_prep.corpora.tables.store_rows import store_rows
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)


def import_lectures(
    path: Path,
    source_dir: Path,
    limits: CheckConfig | None = None,
    executor: Executor | None = None,
    tables: Sequence[Table] | None = None,
) -> None:
    """Write the lectures of a table to a source folder.

    Several parts (train-*.parquet, dev-*, test-*) are kept; a single part, or none, is split by lecture.

    Args:
      path: a table or a folder of tables.
      source_dir: where to write.
      limits: of good audio; the defaults if None.
      executor: where row groups are read; this process if None.
      tables: the tables of path that hold lectures; all if None.
    Raises:
      DataError: no table, one whose part is unknown, a missing column or value; a lecture that occurs twice or audio
        that cannot be used, unless limits.skip_bad.
    """
    limits = limits or CheckConfig()
    tables = with_parts(find_tables(path) if tables is None else tables, "lecture")
    places = [p for table in tables for p in row_places(table)]
    require_rows(tables, places, path)
    names = unique_ids(places, across_parts=True)
    for name in names:
        check_lecture_name(name)
    repeated = repeated_ids(places, names, "lecture", "the corpus")
    ids = [None if i in repeated else name for i, name in enumerate(names)]
    findings: list[Finding] = list(repeated.values())
    settle(findings, len(places), limits.policy(), source_dir)  # before the conversion, which can take hours
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    digests: list[tuple[str, str, str, str]] = []
    for row in store_rows(places, ids, source_dir, "lecture", limits, executor or SerialExecutor()):
        if isinstance(row, Finding):
            findings.append(row)
            continue
        add_lecture(source_dir, row.id, None, row.transcription, row.translation)
        parts[row.place.part].append(row.id)
        digests.append((row.place.part, row.id, text_digest(row.transcription), text_digest(row.translation)))
    findings += check_same_texts(digests)
    settle(findings, len(places), limits.policy(), source_dir)
    if sum(bool(lectures) for lectures in parts.values()) == 1:
        parts = default_splits([name for names in parts.values() for name in names])
        logger.info(
            "the table has only one part, which is split by lecture: %s",
            ", ".join(f"{p} {len(x)}" for p, x in parts.items()),
        )
    write_splits(source_dir, parts)
