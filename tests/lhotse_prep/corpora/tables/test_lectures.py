"""Tables of lectures become source folders; errors in them name the row or the column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from lhotse_prep.corpora.source.splits import read_splits
from lhotse_prep.corpora.tables.lectures import import_lectures
from lhotse_prep.workflow.errors import DataError

RATE = 16_000


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def flac_bytes(path: Path, samples: np.ndarray, rate: int = RATE) -> bytes:
    sf.write(path, samples, rate, format="FLAC")
    return path.read_bytes()


def make_table(path: Path, tmp_path: Path, names: list[str], **changes: list) -> Path:
    columns = {
        "audio": [{"bytes": flac_bytes(tmp_path / "x.flac", tone(0.5)), "path": f"{n}.flac"} for n in names],
        "transcription": [f"我 們 {n}" for n in names],
        "translation": [f"We {n}." for n in names],
        "file": [f"{n}.flac" for n in names],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns | changes), path)
    return path


def test_table_of_one_part_is_split_by_lecture(tmp_path: Path) -> None:
    make_table(tmp_path / "in" / "data" / "test-00000-of-00001.parquet", tmp_path, ["w1", "w2"])
    import_lectures(tmp_path / "in", tmp_path / "out")
    assert read_splits(tmp_path / "out" / "splits.yaml") == {
        "train": ["w1"],
        "dev": [],
        "test": ["w2"],
        "text": [],
        "decode": [],
    }
    assert (tmp_path / "out" / "w1.flac").read_bytes() == (tmp_path / "x.flac").read_bytes()


def test_parts_of_a_table_are_kept(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("validation", "b"), ("test", "c")):
        make_table(tmp_path / "in" / f"{part}-00000-of-00001.parquet", tmp_path, [name])
    import_lectures(tmp_path / "in", tmp_path / "out")
    assert read_splits(tmp_path / "out" / "splits.yaml") == {
        "train": ["a"],
        "dev": ["b"],
        "test": ["c"],
        "text": [],
        "decode": [],
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"file": ["a.flac", "a.flac"]}, ["lecture a", "row 0", "row 1", "unique"]),
        ({"audio": [{"bytes": b"", "path": None}] * 2}, ["row 0", "audio is empty"]),
        ({"audio": [{"bytes": None, "path": "../outside.flac"}] * 2}, ["row 0", "outside.flac"]),
        ({"audio": [{"bytes": b"junk", "path": "a"}] * 2}, ["a", "cannot be read as audio"]),
    ],
)
def test_error_in_a_table_names_the_row(tmp_path: Path, changes: dict, words: list[str]) -> None:
    sf.write(tmp_path / "outside.flac", tone(0.1), RATE)
    table = make_table(tmp_path / "in" / "train.parquet", tmp_path, ["a", "b"], **changes)
    with pytest.raises(DataError) as error:
        import_lectures(table, tmp_path / "out")
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("transcription", 3, "column transcription must be text, and is int64"),
        ("audio", [0.5, 0.25], "column audio must be a path, or {bytes, path}, and is list"),
        ("audio", {"array": [0.5], "path": "a"}, "column audio must be a path, or {bytes, path}, and is struct"),
    ],
)
def test_table_with_columns_of_other_types(tmp_path: Path, column: str, value: object, message: str) -> None:
    row = {"audio": "a.wav", "transcription": "a", "translation": "b", "file": "a.wav"} | {column: value}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        import_lectures(tmp_path / "x.parquet", tmp_path / "out")


def test_table_without_a_column_or_not_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no column audio, transcription, translation"):
        import_lectures(tmp_path / "x.parquet", tmp_path / "out")
    (tmp_path / "y.parquet").write_bytes(b"PAR0")
    with pytest.raises(DataError, match="y.parquet is not a parquet file"):
        import_lectures(tmp_path / "y.parquet", tmp_path / "out")
