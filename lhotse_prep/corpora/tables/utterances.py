"""A table of utterances, such as the data set's on the Hugging Face hub, to a source folder.

The parts stay as they are, except that test loses the utterances whose audio is also in dev; they are counted.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import UTTERANCES
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.corpora.tables.find_tables import Table, find_tables, with_parts
from lhotse_prep.corpora.tables.row_ids import ids_across_parts, repeated_ids, unique_ids
from lhotse_prep.corpora.tables.rows import require_rows, row_places
from lhotse_prep.corpora.tables.store_rows import StoredRow, store_rows
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import json_line, whole_file, write_json
from lhotse_prep.workflow.findings import Finding, settle

logger = logging.getLogger(__name__)
_NUMBERED = re.compile(r"(.+?)[_-]0*(\d{1,9})")
COUNTS = "counts.json"


def import_utterances(
    path: Path,
    source_dir: Path,
    limits: CheckConfig | None = None,
    executor: Executor | None = None,
    keep_dev_in_test: bool = False,
    tables: Sequence[Table] | None = None,
) -> dict[str, int]:
    """Write utterances.jsonl, audio/PART/ID.flac and counts.json.

    Args:
      path: a table or a folder of tables: data/{train,dev,test}-*.parquet or another layout of the hub.
      source_dir: where to write.
      limits: of good audio; the defaults if None.
      executor: where row groups are read; this process if None.
      keep_dev_in_test: keep test utterances whose audio is also in dev.
      tables: the tables of path to read; all if None.
    Returns:
      Counts: rows and utterances of each part, test rows that are in dev, and rows left out because of errors.
    Raises:
      DataError: no table, or one whose part is unknown; rows with the `file` of another row of their part, or with
        audio that cannot be used, unless limits.skip_bad.
    """
    limits = limits or CheckConfig()
    tables = with_parts(find_tables(path) if tables is None else tables, "utterance")
    places = sorted((p for t in tables for p in row_places(t)), key=lambda p: PARTS.index(p.part))
    require_rows(tables, places, path)
    ids = ids_across_parts(places)
    repeated = repeated_ids(places, ids, "utterance", "{part}")
    findings: list[Finding] = list(repeated.values())
    settle(findings, len(places), limits.policy(), source_dir)
    names = dict(zip(ids, unique_ids(places, across_parts=False)))
    digests: dict[str, set[str]] = {part: set() for part in PARTS}
    counts = {f"rows_{part}": sum(p.part == part for p in places) for part in PARTS} | {"test_in_dev": 0}
    counts |= {f"utterances_{part}": 0 for part in PARTS}
    with whole_file(source_dir / UTTERANCES) as f:
        for part in PARTS:
            indices = [i for i, p in enumerate(places) if p.part == part]
            stored = store_rows(
                [places[i] for i in indices],
                [None if i in repeated else ids[i] for i in indices],
                source_dir / "audio" / part,
                "utterance",
                limits,
                executor or SerialExecutor(),
                with_digest=True,
            )
            for row in stored:
                if isinstance(row, Finding):
                    findings.append(row)
                elif part == "test" and row.digest in digests["dev"] and not keep_dev_in_test:
                    counts["test_in_dev"] += 1
                    assert row.audio is not None
                    row.audio.unlink()
                else:
                    digests[part].add(row.digest)
                    counts[f"utterances_{part}"] += 1
                    f.write(json_line(_content(row, names[row.id], source_dir)))
        settle(findings, len(places), limits.policy(), source_dir)
    counts["left_out"] = len(findings)
    write_json(source_dir / COUNTS, counts)
    logger.info("%s: %s", path, ", ".join(f"{part} {counts[f'utterances_{part}']} utterances" for part in PARTS))
    if counts["test_in_dev"]:
        logger.info(
            "%d of %d test utterances are also in dev and were left out", counts["test_in_dev"], counts["rows_test"]
        )
    return counts


def lecture_and_number(name: str) -> tuple[str | None, int | None]:
    """('week10_1', 12) of 'week10_1_0012' or 'week10_1-12'; (None, None) for other names."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (None, None)


def _content(row: StoredRow, name: str, source_dir: Path) -> dict[str, Any]:
    """The row of utterances.jsonl; `name` is its id before a part was put in front of it."""
    assert row.audio is not None
    lecture, number = lecture_and_number(name)
    return {
        "id": row.id,
        "part": row.place.part,
        "audio": str(row.audio.relative_to(source_dir)),
        "text": row.transcription,
        "translation": row.translation,
        "lecture": lecture,
        "number": number,
        "num_samples": row.num_samples,
        "digest": row.digest,
    }
