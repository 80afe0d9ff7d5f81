"""Folders and tables of lectures become source folders; what is wrong with them is said with the lecture's id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from lhotse_prep.corpora.detect import import_corpus
from lhotse_prep.corpora.folder import import_folder
from lhotse_prep.corpora.source.config import CheckConfig, CorpusConfig
from lhotse_prep.corpora.source.folder import read_source
from lhotse_prep.corpora.source.splits import default_splits, read_splits
from lhotse_prep.corpora.tables.lectures import import_parquet
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import SerialExecutor
from lhotse_prep.workflow.files import read_jsonl, write_jsonl

RATE = 16_000


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def flac_bytes(path: Path, samples: np.ndarray, rate: int = RATE) -> bytes:
    sf.write(path, samples, rate, format="FLAC")
    return path.read_bytes()


def make_folder(folder: Path, names: str = "abc") -> Path:
    folder.mkdir()
    for name in names:
        sf.write(folder / f"{name}.wav", tone(0.5), RATE)
        (folder / f"{name}.txt").write_text(f"我 們 {name}")
        (folder / f"{name}.en.txt").write_text(f"We {name}.")
    return folder


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


def test_folder_is_split_by_lecture_and_text_without_recording_is_text_only(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "old.txt").write_text("文 字")
    (folder / "old.en.txt").write_text("Text.")
    import_folder(folder, tmp_path / "out")
    lectures = {x.id: x for x in read_source(tmp_path / "out")}
    assert {i: x.part for i, x in lectures.items()} == {"a": "train", "b": "dev", "c": "test", "old": "text"}
    assert lectures["old"].audio is None and lectures["a"].transcript.split() == ["我", "們", "a"]
    assert sf.read(lectures["a"].audio)[0] == pytest.approx(tone(0.5), abs=1e-4)


@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000])
def test_other_rates_and_channels_are_converted_without_seams(tmp_path: Path, rate: int) -> None:
    (tmp_path / "in").mkdir()
    stereo = np.stack([tone(125, rate), tone(125, rate)], axis=1)
    sf.write(tmp_path / "in" / "x.wav", stereo, rate)
    (tmp_path / "in" / "x.txt").write_text("我")
    import_folder(tmp_path / "in", tmp_path / "out")
    samples, out_rate = sf.read(tmp_path / "out" / "x.flac")
    assert out_rate == RATE and samples.ndim == 1 and len(samples) == 125 * RATE
    inner = slice(RATE, -RATE)
    assert np.abs(samples - tone(125))[inner].max() < 5e-3


def break_transcript(folder: Path) -> None:
    (folder / "b.txt").unlink()  # its translation stays


def break_encoding(folder: Path) -> None:
    (folder / "b.txt").write_bytes("我們".encode("big5"))


def break_audio(folder: Path) -> None:
    (folder / "b.wav").write_bytes(b"not a wav at all")


def break_splits(folder: Path) -> None:
    (folder / "splits.yaml").write_text("train: [a]\ntest: [nowhere]\n")


def two_recordings(folder: Path) -> None:
    (folder / "b.flac").write_bytes(b"")


def double_split(folder: Path) -> None:
    (folder / "splits.yaml").write_text("train: [a, b]\ntest: [b]\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_transcript, ["b", "transcript"]),
        (break_encoding, ["b.txt", "UTF-8"]),
        (break_audio, ["lecture b", "audio"]),
        (two_recordings, ["b.flac", "b.wav", "keep one"]),
        (break_splits, ["nowhere", "splits.yaml"]),
        (double_split, ["b", "train", "test"]),
    ],
)
def test_damaged_folder_is_named(tmp_path: Path, damage: Callable[[Path], None], words: list[str]) -> None:
    folder = make_folder(tmp_path / "in")
    damage(folder)
    with pytest.raises(DataError) as error:
        import_folder(folder, tmp_path / "out")
    assert all(word in str(error.value) for word in words), error.value


def test_what_each_lecture_is_for_follows_from_what_it_has(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "a.en.txt").unlink()  # recogniser only
    (folder / "unheard.txt").write_text("文 字")  # language model only
    sf.write(folder / "untold.wav", tone(0.5), RATE)  # decoding only
    import_folder(folder, tmp_path / "out")
    lectures = {
        x.id: (x.part, bool(x.audio), bool(x.transcript), bool(x.translation)) for x in read_source(tmp_path / "out")
    }
    assert lectures == {
        "a": ("train", True, True, False),
        "b": ("dev", True, True, True),
        "c": ("test", True, True, True),
        "unheard": ("text", False, True, False),
        "untold": ("decode", True, False, False),
    }


def test_bad_recording_is_left_out_when_asked(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    break_audio(folder)
    with pytest.raises(DataError, match=r"1 of 3 are bad \(33.3%\), more than --max-rejected 0.05"):
        import_folder(folder, tmp_path / "out", CheckConfig(skip_bad=True))
    import_folder(folder, tmp_path / "out", CheckConfig(skip_bad=True, max_rejected=0.4))
    assert [x.id for x in read_source(tmp_path / "out")] == ["a", "c"]
    (row,) = read_jsonl(tmp_path / "out" / "rejected.jsonl")
    assert (row["id"], row["part"], row["check"]) == ("b", "dev", "unreadable")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("train: abc\n", r"splits\.yaml: train must be a list of lectures, such as \[a, b\], got 'abc'"),
        ("train: [a, [b, c]]\n", "train must be a list of lectures"),
        ("train: [../a]\n", r"'\.\./a' cannot name a lecture: .*rename its files"),
        ("train: [/etc/a]\n", "'/etc/a' cannot name a lecture"),
        ("train: ['a b']\n", "'a b' cannot name a lecture"),
    ],
)
def test_splits_that_are_no_lists_of_plain_names_are_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "splits.yaml").write_text(content)
    with pytest.raises(DataError, match=said):
        read_splits(tmp_path / "splits.yaml")


def test_lectures_whose_names_look_like_numbers_keep_them(tmp_path: Path) -> None:
    (tmp_path / "splits.yaml").write_bytes(b"\xef\xbb\xbftrain: [10_1, 011]\r\ndev:\r\ntest: [2021-03-05]\r\n")
    splits = read_splits(tmp_path / "splits.yaml")
    assert (splits["train"], splits["dev"], splits["test"]) == (["10_1", "011"], [], ["2021-03-05"])


def test_a_name_with_spaces_is_said_before_anything_is_converted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    sf.write(folder / "my lecture.wav", tone(1), RATE)
    (folder / "my lecture.txt").write_text("我 們")
    with pytest.raises(DataError, match="'my lecture' cannot name a lecture"):
        import_folder(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lectures_that_splits_do_not_list_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "splits.yaml").write_text("train: [a]\ntest: [c]\n")
    import_folder(folder, tmp_path / "out")
    assert "1 lectures are not in splits.yaml and are left out: b" in caplog.text
    (folder / "splits.yaml").write_text("train: []\n")
    with pytest.raises(DataError, match="lists no lecture"):
        import_folder(folder, tmp_path / "out")
    with pytest.raises(DataError, match="lists no lecture"):
        read_source(folder)


def test_recording_that_is_a_broken_link_is_no_text_only_lecture(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "b.wav").unlink()
    (folder / "b.wav").symlink_to("nowhere.wav")
    with pytest.raises(DataError, match=r"b\.wav is no file: is it a link to one that is gone"):
        import_folder(folder, tmp_path / "out")


def test_a_recording_is_no_corpus(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    with pytest.raises(DataError, match=r"a\.wav is neither a folder of lectures nor a \.parquet table"):
        import_corpus(folder / "a.wav", tmp_path / "out", CorpusConfig(), CheckConfig(), SerialExecutor())


@pytest.mark.parametrize(
    ("change", "said"),
    [({"part": "tset"}, "line 1: part 'tset' is none of train"), ({"id": "../a"}, "'../a' cannot name")],
)
def test_utterances_that_stage_0_would_not_write_are_refused(tmp_path: Path, change: dict, said: str) -> None:
    row = {"id": "a", "part": "test", "audio": "a.wav", "text": "a", "translation": "", "lecture": None, "number": None}
    write_jsonl(tmp_path / "utterances.jsonl", [row])
    assert [x.id for x in read_source(tmp_path)] == ["a"]
    write_jsonl(tmp_path / "utterances.jsonl", [row | change])
    with pytest.raises(DataError, match=said):
        read_source(tmp_path)
    write_jsonl(tmp_path / "utterances.jsonl", [{"id": "a"}])
    with pytest.raises(DataError, match=r"utterances\.jsonl, line 1: no utterance as stage 0 writes them"):
        read_source(tmp_path)


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no lectures"):
        import_folder(tmp_path / "in", tmp_path / "out")


def test_table_of_one_part_is_split_by_lecture(tmp_path: Path) -> None:
    make_table(tmp_path / "in" / "data" / "test-00000-of-00001.parquet", tmp_path, ["w1", "w2"])
    import_parquet(tmp_path / "in", tmp_path / "out")
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
    import_parquet(tmp_path / "in", tmp_path / "out")
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
def test_damaged_table_is_named(tmp_path: Path, changes: dict, words: list[str]) -> None:
    sf.write(tmp_path / "outside.flac", tone(0.1), RATE)
    table = make_table(tmp_path / "in" / "train.parquet", tmp_path, ["a", "b"], **changes)
    with pytest.raises(DataError) as error:
        import_parquet(table, tmp_path / "out")
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("transcription", 3, "column transcription must be text, and is int64"),
        ("audio", [0.5, 0.25], "column audio must be a path, or {bytes, path}, and is list"),
        ("audio", {"array": [0.5], "path": "a"}, "column audio must be a path, or {bytes, path}, and is struct"),
    ],
)
def test_table_whose_columns_hold_something_else(tmp_path: Path, column: str, value: object, said: str) -> None:
    row = {"audio": "a.wav", "transcription": "a", "translation": "b", "file": "a.wav"} | {column: value}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=said):
        import_parquet(tmp_path / "x.parquet", tmp_path / "out")


def test_table_without_a_column_or_not_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="no column audio, transcription, translation"):
        import_parquet(tmp_path / "x.parquet", tmp_path / "out")
    (tmp_path / "y.parquet").write_bytes(b"PAR0")
    with pytest.raises(DataError, match="y.parquet is not a parquet file"):
        import_parquet(tmp_path / "y.parquet", tmp_path / "out")


@pytest.mark.parametrize("num_lectures", range(1, 40))
def test_default_splits_put_each_lecture_in_one_part_and_keep_training(num_lectures: int) -> None:
    lectures = [f"l{i:02d}" for i in range(num_lectures)]
    splits = default_splits(lectures[::-1])
    assert sorted(sum(splits.values(), [])) == lectures
    assert splits["train"] and len(splits["train"]) >= num_lectures / 3
    assert bool(splits["test"]) == (num_lectures >= 2) and bool(splits["dev"]) == (num_lectures >= 3)


def test_a_suffix_in_capitals_is_not_left_out_in_silence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("我們", encoding="utf-8")
    (tmp_path / "a.WAV").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="a.WAV would be left out: rename it to a.wav"):
        import_folder(tmp_path, tmp_path / "out")
