"""A text of a table that is not UTF-8 is an error of its row."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lhotse_prep.corpora.tables.find_tables import find_tables
from lhotse_prep.corpora.tables.rows import Row, RowError, read_rows, row_places
from lhotse_prep.workflow.errors import DataError

BAD = {"Big5": "中文".encode("big5"), "lone surrogate": b"\xed\xa0\xbd"}


def write(path: Path, column: str, bad: bytes) -> Path:
    """Two row groups of two rows; the third row has `bad` in a column."""
    columns: dict[str, pa.Array] = {}
    for name in ("transcription", "translation", "file"):
        cells = [f"{name}{i}".encode() for i in range(4)]
        if name == column:
            cells[2] = bad
        offsets = pa.array([sum(map(len, cells[:i])) for i in range(5)], pa.int32())
        buffers = [None, offsets.buffers()[1], pa.py_buffer(b"".join(cells))]
        columns[name] = pa.Array.from_buffers(pa.string(), 4, buffers)
    columns["audio"] = pa.array([{"bytes": b"x", "path": f"{i}.wav"} for i in range(4)])
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
@pytest.mark.parametrize("column", ["transcription", "translation"])
def test_a_bad_text_is_the_error_of_its_row_alone(tmp_path: Path, column: str, bad: bytes) -> None:
    table = write(tmp_path / "test-0.parquet", column, bad)
    places = row_places(*find_tables(table))
    error, good = read_rows(table, 1, places[2:])
    assert isinstance(error, RowError) and isinstance(good, Row) and good.transcription == "transcription3"
    assert str(error).startswith(f"test-0.parquet, row 2 (file2): column {column} is not UTF-8 (byte 0)")


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_name_is_refused(tmp_path: Path, bad: bytes) -> None:
    table = write(tmp_path / "test-0.parquet", "file", bad)
    with pytest.raises(DataError, match=r"test-0\.parquet, row 2: column file is not UTF-8 \(byte 0\)"):
        row_places(*find_tables(table))
