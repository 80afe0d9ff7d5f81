"""The data set's own table on the Hugging Face hub, one row a lecture, -> a source folder.

Columns: `audio` ({bytes, path}), `transcription`, `translation`, `file`. One row is in memory at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from lhotse_prep.corpora.source import PARTS, add_lecture, default_splits, write_splits
from lhotse_prep.errors import DataError

logger = logging.getLogger(__name__)
COLUMNS = ("audio", "transcription", "translation", "file")


def find_tables(path: Path) -> list[Path]:
    """The .parquet files of a folder (also in its subfolders), or the file itself."""
    return [path] if path.suffix == ".parquet" else sorted(path.rglob("*.parquet"))


def import_parquet(path: Path, source_dir: Path) -> None:
    """Write the lectures of a table to a source folder.

    The table's own parts (train-*.parquet, dev-*, test-*) are kept where there are several; a table of one part is
    split by lecture.

    Raises:
      DataError: no table, a column or value is missing, a lecture occurs twice.
    """
    tables = find_tables(path)
    if not tables:
        raise DataError(f"no .parquet file in {path}")
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    where: dict[str, str] = {}
    for table in tables:
        part = _part_of(table)
        for row, content in _rows(table):
            lecture = _lecture_id(content, f"{table.name}, row {row}")
            if lecture in where:
                raise DataError(
                    f"lecture {lecture} is in {where[lecture]} and in {table.name}, row {row}: `file` must be unique"
                )
            where[lecture] = f"{table.name}, row {row}"
            audio = _audio(content["audio"], table, f"{table.name}, row {row} ({lecture})")
            add_lecture(source_dir, lecture, audio, content["transcription"] or "", content["translation"] or "")
            parts[part].append(lecture)
    if sum(bool(lectures) for lectures in parts.values()) == 1:
        parts = default_splits(list(where))
        logger.info("the table has one part; its lectures are split by lecture: %s",
                    ", ".join(f"{p} {len(x)}" for p, x in parts.items()))  # fmt: skip
    write_splits(source_dir, parts)


def _part_of(table: Path) -> str:
    """train, dev or test by the file's name, as the hub writes it; anything else counts as train."""
    name = table.name.split("-")[0].split(".")[0].lower()
    return {"validation": "dev", "valid": "dev"}.get(name, name if name in PARTS else "train")


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(table)
    except (pa.ArrowInvalid, OSError) as e:
        raise DataError(f"{table} is not a parquet file, or damaged: {str(e).splitlines()[0]}") from e
    missing = [c for c in COLUMNS if c not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{table}: no column {', '.join(missing)}; its columns: {', '.join(file.schema_arrow.names)}")
    number = 0
    for batch in file.iter_batches(batch_size=1, columns=list(COLUMNS)):
        for content in batch.to_pylist():
            yield number, content
            number += 1


def _lecture_id(content: dict[str, Any], where: str) -> str:
    name = content["file"] or (content["audio"] or {}).get("path") or ""
    stem = PurePosixPath(str(name)).stem
    if not stem:
        raise DataError(f"{where}: neither `file` nor audio.path names the lecture")
    return stem


def _audio(audio: Any, table: Path, where: str) -> bytes | Path:
    """The bytes, or the file beside the table that `path` names."""
    if isinstance(audio, dict) and audio.get("bytes"):
        return audio["bytes"]
    if isinstance(audio, dict) and audio.get("path"):
        path = (table.parent / audio["path"]).resolve()
        if path.is_file() and path.is_relative_to(table.parent.resolve()):
            return path
        raise DataError(f"{where}: its audio has no bytes, and {audio['path']} is not a file beside the table")
    raise DataError(f"{where}: its audio is empty")
