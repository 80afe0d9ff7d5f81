"""Parquet tables in the form of the Hugging Face hub: lists their rows, and reads one row at a time.

Columns: `audio` ({bytes, path}, or a path), `transcription`, `translation`, `file`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lhotse_prep.audio.gate import declared_seconds
from lhotse_prep.corpora.tables.find_tables import Table
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)

COLUMNS = ("audio", "transcription", "translation", "file")
_LFS = b"version https://git-lfs"
_NUM_SAMPLED = 8  # rows whose lengths decide between lectures and utterances


@dataclass(frozen=True)
class RowPlace:
    """A row of a table whose audio has not been read."""

    table: Path
    group: int  # index of the row group
    number: int  # index of the row in the table
    part: str  # train, dev or test
    file: str  # column `file`, or else the path of the audio
    table_name: str  # the table's path in the corpus

    @property
    def where(self) -> str:
        """The table and row, for messages."""
        return f"{self.table_name}, row {self.number}"


@dataclass(frozen=True)
class Row:
    """A row of a table; `audio` is a file, or a view into Arrow's memory."""

    place: RowPlace
    audio: memoryview | Path
    transcription: str
    translation: str


class RowError(DataError):
    """A row without audio, or with a text that is not UTF-8."""

    def __init__(self, place: RowPlace, message: str) -> None:
        super().__init__(f"{place.where} ({place.file}): {message}")
        self.place, self.message = place, message


def row_places(table: Table) -> list[RowPlace]:
    """All rows of a table, without reading audio.

    Raises:
      DataError: not a parquet file, a column is missing or of the wrong type, a row whose name is missing or not UTF-8.
    """
    file = _open(table.path)
    places: list[RowPlace] = []
    is_struct = _is_struct(file)
    for group in range(file.num_row_groups):
        names = file.read_row_group(group, columns=["file", "audio.path" if is_struct else "audio"])
        try:
            rows = names.to_pylist()
        except UnicodeDecodeError as e:
            raise DataError(_undecodable(table.name, names, len(places))) from e
        for row in rows:
            audio = row["audio"]
            name = row["file"] or (audio.get("path") if isinstance(audio, dict) else audio) or ""
            place = RowPlace(table.path, group, len(places), table.part or "", str(name), table.name)
            if not PurePosixPath(place.file).stem:
                raise DataError(f"{place.where}: it has no name in `file` or audio.path; add one")
            places.append(place)
    return places


def require_rows(tables: Iterable[Table], places: Sequence[RowPlace], path: Path) -> None:
    """Raise DataError if there are no tables in `path`, or no rows in its tables."""
    if not list(tables):
        raise DataError(f"no .parquet file in {path}; --corpus takes a table or a folder of tables")
    if not places:
        raise DataError(f"the tables of {path} have no rows")


def with_rows(tables: Sequence[Table], path: Path) -> list[Table]:
    """The tables that have rows; the others are logged.

    Raises:
      DataError: none has rows, or one is no table of the expected form.
    """
    filled = [t for t in tables if _open(t.path).metadata.num_rows]
    if not filled:
        raise DataError(f"the tables of {path} have no rows")
    if empty := [t.name for t in tables if t not in filled]:
        logger.warning("%d tables have no rows: %s", len(empty), ", ".join(empty[:10]))
    return filled


def read_rows(table: Path, group: int, places: list[RowPlace]) -> Iterator[Row | RowError]:
    """The rows of a row group, one in memory at a time; a row that cannot be read is yielded as its error.

    Args:
      table: the file.
      group: index of the row group.
      places: all rows of that group, in order.
    """
    import pyarrow as pa

    yield from _read_rows(table, group, places)
    pa.default_memory_pool().release_unused()  # otherwise the process keeps the memory of the shard


def _read_rows(table: Path, group: int, places: list[RowPlace]) -> Iterator[Row | RowError]:
    file = _open(table)
    is_struct = _is_struct(file)
    at = 0
    content: memoryview | Path
    for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=list(COLUMNS)):
        audio = batch.column("audio")
        for i in range(batch.num_rows):
            place = places[at]
            at += 1
            try:
                if is_struct:
                    content = _audio(audio.field("bytes")[i], audio.field("path")[i].as_py(), place)
                else:
                    content = _file_beside(place, audio[i].as_py())
                text, translation = (_text(batch.column(c)[i], c, place) for c in ("transcription", "translation"))
            except RowError as e:
                yield e
                continue
            yield Row(place, content, text, translation)


def typical_seconds(tables: Sequence[Table]) -> float:
    """The median length in seconds of the first few rows, from their audio headers; 0 if none can be read."""
    lengths = []
    for table in tables:
        places = row_places(table)
        for row in read_rows(table.path, 0, [p for p in places if p.group == 0]) if places else ():
            if not isinstance(row, Row):
                continue
            seconds = declared_seconds(row.audio)
            if seconds is not None:
                lengths.append(seconds)
            if len(lengths) >= _NUM_SAMPLED:
                break
        if len(lengths) >= _NUM_SAMPLED:
            break
    return sorted(lengths)[len(lengths) // 2] if lengths else 0.0


def _open(table: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # a small buffer: otherwise the audio column of a whole row group, maybe gigabytes, is read at once
        file = pq.ParquetFile(table, buffer_size=1 << 20, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as e:
        with open(table, "rb") as f:
            if f.read(len(_LFS)) == _LFS:
                raise DataError(f"{table} is only the pointer to a file (Git LFS); run `git lfs pull`") from e
        raise DataError(f"{table} is not a parquet file, or it is damaged: {str(e).splitlines()[0]}") from e
    missing = [c for c in COLUMNS if c not in file.schema_arrow.names]
    if missing:
        raise DataError(f"{table}: no column {', '.join(missing)}; its columns: {', '.join(file.schema_arrow.names)}")
    _check_types(table, file.schema_arrow)
    return file


def _check_types(table: Path, schema: Any) -> None:
    """Raise DataError if a column is not text or, for audio, neither a path nor {bytes, path}."""
    import pyarrow as pa

    def is_text(kind: Any) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))

    audio = schema.field("audio").type
    fields = {audio.field(i).name for i in range(audio.num_fields)} if pa.types.is_struct(audio) else set()
    if not (is_text(audio) or {"bytes", "path"} <= fields):
        raise DataError(f"{table}: column audio must be a path, or {{bytes, path}}, and is {audio}")
    for column in COLUMNS[1:]:
        if not is_text(schema.field(column).type):
            raise DataError(f"{table}: column {column} must be text, and is {schema.field(column).type}")


def _text(value: Any, column: str, place: RowPlace) -> str:
    """The text of a cell; raises RowError if it is not UTF-8."""
    try:
        return value.as_py() or ""
    except UnicodeDecodeError as e:
        raise RowError(place, f"column {column} is not UTF-8 (byte {e.start}); convert it") from e


def _undecodable(table: str, names: Any, first: int) -> str:
    """The message on the first row of a row group whose name is not UTF-8; `first` is the number of its first row."""
    for i in range(names.num_rows):
        for column in names.column_names:
            try:
                names[column][i].as_py()
            except UnicodeDecodeError as e:
                return f"{table}, row {first + i}: column {column} is not UTF-8 (byte {e.start}); convert it"
    return f"{table}: a name is not UTF-8; convert it"


def _is_struct(file: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(file.schema_arrow.field("audio").type))


def _audio(content: Any, path: str | None, place: RowPlace) -> memoryview | Path:
    """The bytes of a row's audio or, if it has none, the file beside the table that `path` names."""
    buffer = content.as_buffer() if content.is_valid else None
    if buffer is not None and buffer.size:
        return memoryview(buffer)
    return _file_beside(place, path)


def _file_beside(place: RowPlace, path: str | None) -> Path:
    """The file in the table's folder that `path` names; raises RowError if there is none."""
    if not path:
        raise RowError(place, "its audio is empty")
    folder = place.table.parent
    name = os.path.normpath(path.replace("\\", "/"))
    if not os.path.isabs(name) and name.split(os.sep)[0] != os.pardir:
        for form in ("NFC", "NFD"):  # the name on disk may be in another Unicode form than in the table
            file = folder / unicodedata.normalize(form, name)
            with contextlib.suppress(OSError):  # a name that is too long
                if file.is_file():  # maybe a link, as in the hub's cache
                    return file
    raise RowError(place, f"its audio has no bytes, and {path} is not a file beside the table")
