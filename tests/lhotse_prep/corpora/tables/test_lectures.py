"""Tables of lectures become source folders; errors in them name the row or the column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import read_source
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


def test_lectures_of_two_parts_that_are_called_alike_keep_their_own_texts(tmp_path: Path) -> None:
    make_table(tmp_path / "in" / "train-0.parquet", tmp_path, ["x/w1"], transcription=["訓 練"])
    make_table(tmp_path / "in" / "test-0.parquet", tmp_path, ["y/w1"], transcription=["測 試"])
    import_lectures(tmp_path / "in", tmp_path / "out")
    assert {x.id: (x.part, x.transcript.strip()) for x in read_source(tmp_path / "out")} == {
        "x_w1": ("train", "訓 練"),
        "y_w1": ("test", "測 試"),
    }


def test_a_lecture_whose_texts_would_be_the_translation_of_another_is_refused(tmp_path: Path) -> None:
    make_table(tmp_path / "in" / "train-0.parquet", tmp_path, ["w1", "w1.en"])
    with pytest.raises(DataError, match="'w1.en' cannot name a lecture: w1.en.txt would be a translation"):
        import_lectures(tmp_path / "in", tmp_path / "out")


def test_subtitles_in_a_column_and_a_transcript_of_two_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cues = "1\n00:00:00,000 --> 00:00:01,000\n我"
    table = make_table(tmp_path / "train.parquet", tmp_path, ["a", "b", "c"], transcription=["我 們", "我們。", cues])
    with pytest.raises(DataError, match="lecture c: train.parquet, row 2: its transcription holds subtitles"):
        import_lectures(table, tmp_path / "out")
    import_lectures(table, tmp_path / "out", CheckConfig(skip_bad=True, max_rejected=0.4))
    assert "lecture b: its transcript is that of a" in caplog.text


@pytest.mark.parametrize("path", ["audio/a.wav", "./audio/../audio/a.wav", "audio\\a.wav", "audio/e\u0301.wav"])
def test_audio_beside_the_table_may_be_a_link_of_the_hubs_cache(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "snapshots" / "abc"
    (tmp_path / "blobs").mkdir()
    (folder / "audio").mkdir(parents=True)
    sf.write(tmp_path / "blobs" / "0a1b", tone(0.1), RATE, format="WAV")
    for name in ("a.wav", "é.wav"):
        (folder / "audio" / name).symlink_to("../../../blobs/0a1b")
    make_table(folder / "train.parquet", tmp_path, ["a"], audio=[{"bytes": None, "path": path}])
    import_lectures(folder, tmp_path / "out")
    assert sf.info(tmp_path / "out" / "a.wav").frames == 1600


@pytest.mark.parametrize(
    "path", ["../a.wav", "audio/../../a.wav", "{tmp_path}/a.wav", "..\\a.wav", "x" * 300, "a\0.wav"]
)
def test_audio_outside_the_tables_folder_is_refused(tmp_path: Path, path: str) -> None:
    sf.write(tmp_path / "a.wav", tone(0.1), RATE)
    audio = [{"bytes": None, "path": path.format(tmp_path=tmp_path)}]
    table = make_table(tmp_path / "in" / "train.parquet", tmp_path, ["a"], audio=audio)
    with pytest.raises(DataError, match="row 0: its audio has no bytes, and .* is not a file beside the table"):
        import_lectures(table, tmp_path / "out")
