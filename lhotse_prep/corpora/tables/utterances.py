"""The data set's utterances on the Hugging Face hub, a table with one row an utterance, -> a source folder.

The parts are kept as given, but for test: what is in dev too, by its audio, is taken out of test and counted.
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
from lhotse_prep.corpora.tables.rows import RowPlace, find_tables, row_places
from lhotse_prep.corpora.tables.store import StoredRow, repeated_files, require_rows, store_rows, unique_ids
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from lhotse_prep.workflow.files import write_json, write_jsonl
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
    tables: list[Path] | None = None,
) -> dict[str, int]:
    """Write utterances.jsonl, audio/PART/ID.flac and counts.json.

    Args:
      path: a table or a folder of tables: data/{train,dev,test}-*.parquet.
      source_dir: where to write.
      limits: of what passes for good audio.
      executor: where row groups are read.
      keep_dev_in_test: leave in test what is in dev too.
      tables: those of path to read; all where None.
    Returns:
      Counts: rows and utterances of each part, test rows that are in dev, rows left out as bad.
    Raises:
      DataError: no table, a `file` that is repeated within a part (all are listed), audio that cannot be used.
    """
    limits = limits or CheckConfig()
    tables = find_tables(path) if tables is None else tables
    places = sorted((p for t in tables for p in row_places(t)), key=lambda p: PARTS.index(p.part))
    require_rows(tables, places, path)
    repeated = dict(repeated_files(places, "utterance", across_parts=False))
    findings: list[Finding] = list(repeated.values())
    settle(findings, len(places), limits.policy(), source_dir)
    names = _ids(places)
    rows: list[dict[str, Any]] = []
    digests: dict[str, set[str]] = {part: set() for part in PARTS}
    counts = {f"rows_{part}": sum(p.part == part for p in places) for part in PARTS} | {"test_in_dev": 0}
    for part in PARTS:
        own = [(p, None if i in repeated else names[i]) for i, p in enumerate(places) if p.part == part]
        stored = store_rows(
            [p for p, _ in own],
            [name for _, name in own],
            source_dir / "audio" / part,
            "utterance",
            limits,
            executor or SerialExecutor(),
            looks_closely=True,
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
                rows.append(_content(row, source_dir))
    settle(findings, len(places), limits.policy(), source_dir)
    counts |= {f"utterances_{part}": sum(r["part"] == part for r in rows) for part in PARTS}
    counts["left_out"] = len(findings)
    write_jsonl(source_dir / UTTERANCES, rows)
    write_json(source_dir / COUNTS, counts)
    logger.info("%s: %s", path, ", ".join(f"{part} {counts[f'utterances_{part}']} utterances" for part in PARTS))
    if counts["test_in_dev"]:
        logger.info(
            "%d of %d test utterances are in dev too and were taken out", counts["test_in_dev"], counts["rows_test"]
        )
    return counts


def lecture_and_number(name: str) -> tuple[str | None, int | None]:
    """('week10_1', 12) of 'week10_1_0012' or 'week10_1-12'; (None, None) where the name does not tell."""
    match = _NUMBERED.fullmatch(name)
    return (match[1], int(match[2])) if match else (None, None)


def _ids(places: Sequence[RowPlace]) -> list[str]:
    """Ids that are unique in a part by `file`, and across parts by putting the part before where one is taken.

    What is in dev has its name from there, and a test row of the same name is then the same audio (and is taken out)
    or is called test_NAME.
    """
    owner: dict[str, str] = {}
    ids = []
    for p, name in zip(places, unique_ids(places)):
        ids.append(name if owner.setdefault(name, p.part) == p.part else f"{p.part}_{name}")
    return ids


def _content(row: StoredRow, source_dir: Path) -> dict[str, Any]:
    assert row.audio is not None
    part = row.place.part
    lecture, number = lecture_and_number(row.id.removeprefix(f"{part}_"))
    return {
        "id": row.id,
        "part": part,
        "audio": str(row.audio.relative_to(source_dir)),
        "text": row.transcription,
        "translation": row.translation,
        "lecture": lecture,
        "number": number,
        "num_samples": row.num_samples,
        "digest": row.digest,
    }
