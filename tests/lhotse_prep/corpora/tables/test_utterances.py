"""Tables of utterances, with every error that the real download may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
from lhotse import RecordingSet, SupervisionSet, load_manifest
from lhotse.qa import validate_recordings_and_supervisions

from lhotse_prep.cli import main
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.tables.utterances import import_utterances, lecture_and_number
from lhotse_prep.manifests.make import make_manifests
from lhotse_prep.text.config import TextConfig
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import SerialExecutor
from lhotse_prep.workflow.files import read_jsonl

RATE = 16_000
SKIP = CheckConfig(skip_bad=True, max_rejected=0.1)


def flac(tmp_path: Path, seed: int, seconds: float = 1.0) -> bytes:
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, int(seconds * RATE))
    sf.write(tmp_path / "x.flac", samples, RATE)
    return (tmp_path / "x.flac").read_bytes()


def row(tmp_path: Path, number: int, lecture: str = "week1_1") -> dict[str, Any]:
    name = f"{lecture}_{number:04d}.wav"
    return {
        "audio": {"bytes": flac(tmp_path, number), "path": name},
        "file": name,
        "transcription": "我 們 講 bert",
        "translation": f"We talk about BERT {number}.",
    }


def write(folder: Path, part: str, rows: list[dict[str, Any]], row_group_size: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part}-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)


def hub(tmp_path: Path, damaged: bool = True) -> Path:
    """20 rows of train, 6 of dev, 14 of test, which include those of dev; damaged: three bad rows in train."""
    folder = tmp_path / "hub" / "data"
    train = [row(tmp_path, i) for i in range(20)]
    dev = [row(tmp_path, i, "week2_1") for i in range(100, 106)]
    if damaged:
        train[7]["file"] = train[3]["file"]
        train[9]["audio"]["bytes"] = b"RIFF but nothing that follows"
        train[11]["transcription"] = " \u3000 "
    write(folder, "train", train)
    write(folder, "dev", dev)
    write(folder, "test", [row(tmp_path, i, "week2_1") for i in range(100, 114)])
    return tmp_path / "hub"


def test_40_rows_give_exactly_the_expected_counts(tmp_path: Path) -> None:
    path = hub(tmp_path)
    make_manifests(path, tmp_path / "out", CorpusConfig(), TextConfig(), SKIP, SerialExecutor())
    counts = {}
    for part in ("train", "dev", "test"):
        recordings = load_manifest(tmp_path / f"out/ml2021_recordings_{part}.jsonl.gz", RecordingSet)
        supervisions = load_manifest(tmp_path / f"out/ml2021_supervisions_{part}.jsonl.gz", SupervisionSet)
        validate_recordings_and_supervisions(recordings, supervisions, read_data=True)
        counts[part] = (len(recordings), len(supervisions))
    assert counts == {"train": (17, 17), "dev": (6, 6), "test": (8, 8)}
    assert {s.id for s in supervisions} == {f"week2_1_{i:04d}" for i in range(106, 114)}
    assert supervisions["week2_1_0106"].custom == {
        "translated_text": {"eng": "We talk about BERT 106."},
        "lecture": "week2_1",
        "number": 106,
    }
    rejected = [read_jsonl(tmp_path / "out" / p) for p in ("source/rejected.jsonl", "rejected.jsonl")]
    assert [(r["id"], r["check"]) for rows in rejected for r in rows] == [
        ("week1_1_0003", "duplicate-id"),
        ("week1_1_0009", "unreadable"),
        ("week1_1_0011", "empty-text"),
    ]
    assert not list((tmp_path / "out/source/audio/test").glob("week2_1_0105*"))


def test_repeated_files_are_an_error_that_lists_them(tmp_path: Path) -> None:
    train = [row(tmp_path, i) for i in (1, 2, 1, 3, 2)]
    write(tmp_path / "data", "train", train)
    with pytest.raises(DataError) as error:
        import_utterances(tmp_path / "data", tmp_path / "out")
    message = str(error.value)
    assert "2 errors (duplicate-id 2)" in message and "unique within train" in message
    assert all(f"week1_1_000{i}.wav is in train-00000-of-00001.parquet, row {i - 1}" in message for i in (1, 2))
    assert "row 2" in message and "row 4" in message and not (tmp_path / "out").exists()


def test_dev_rows_in_test_are_left_out_and_counted_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    path = hub(tmp_path, damaged=False)
    counts = import_utterances(path, tmp_path / "1")
    assert (counts["rows_test"], counts["test_in_dev"], counts["utterances_test"]) == (14, 6, 8)
    counts = import_utterances(path, tmp_path / "2", keep_dev_in_test=True)
    assert (counts["test_in_dev"], counts["utterances_test"]) == (0, 14)
    with pytest.raises(DataError, match="recording test_week2_1_0100: its samples are those of week2_1_0100 in dev"):
        make_manifests(tmp_path / "2", tmp_path / "m", CorpusConfig(), TextConfig(), CheckConfig(), SerialExecutor())


def test_too_many_bad_rows_stop_the_run(tmp_path: Path) -> None:
    path = hub(tmp_path)
    with pytest.raises(DataError, match="more than --max-rejected 0.02"):
        main(["manifests", str(path), str(tmp_path / "out"), "--skip-bad", "--max-rejected", "0.02"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("week10_1_0012", ("week10_1", 12)),
        ("week10_1-7", ("week10_1", 7)),
        ("lecture", (None, None)),
        ("a-0", ("a", 0)),
    ],
)
def test_lecture_and_order_from_names(name: str, expected: tuple[str | None, int | None]) -> None:
    assert lecture_and_number(name) == expected


def test_names_that_repeat_in_other_folders_or_parts_get_different_ids(tmp_path: Path) -> None:
    rows = [row(tmp_path, i) for i in range(3)]
    for r, name in zip(rows, ("a/1.wav", "b/1.wav", "2.wav")):
        r["file"] = name
    other = row(tmp_path, 9) | {"file": "2.wav"}
    write(tmp_path / "data", "train", rows)
    write(tmp_path / "data", "test", [other])
    import_utterances(tmp_path / "data", tmp_path / "out")
    assert [(r["id"], r["part"]) for r in read_jsonl(tmp_path / "out/utterances.jsonl")] == [
        ("a_1", "train"),
        ("b_1", "train"),
        ("2", "train"),
        ("test_2", "test"),
    ]
