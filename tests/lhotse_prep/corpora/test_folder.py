"""Folders of lectures become source folders; errors in them name the lecture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.corpora.folder import import_folder
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.source.folder import read_source
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl

RATE = 16_000


def tone(seconds: float, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def make_folder(folder: Path, names: str = "abc") -> Path:
    folder.mkdir()
    for name in names:
        sf.write(folder / f"{name}.wav", tone(0.5), RATE)
        (folder / f"{name}.txt").write_text(f"我 們 {name}")
        (folder / f"{name}.en.txt").write_text(f"We {name}.")
    return folder


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
def test_other_rates_and_channels_are_converted_without_jumps(tmp_path: Path, rate: int) -> None:
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
def test_error_in_a_folder_names_the_lecture(tmp_path: Path, damage: Callable[[Path], None], words: list[str]) -> None:
    folder = make_folder(tmp_path / "in")
    damage(folder)
    with pytest.raises(DataError) as error:
        import_folder(folder, tmp_path / "out")
    assert all(word in str(error.value) for word in words), error.value


def test_the_files_of_a_lecture_decide_its_part(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "a.en.txt").unlink()  # recogniser only
    (folder / "unspoken.txt").write_text("文 字")  # language model only
    sf.write(folder / "untranscribed.wav", tone(0.5), RATE)  # decoding only
    import_folder(folder, tmp_path / "out")
    lectures = {
        x.id: (x.part, bool(x.audio), bool(x.transcript), bool(x.translation)) for x in read_source(tmp_path / "out")
    }
    assert lectures == {
        "a": ("train", True, True, False),
        "b": ("dev", True, True, True),
        "c": ("test", True, True, True),
        "unspoken": ("text", False, True, False),
        "untranscribed": ("decode", True, False, False),
    }


def test_bad_recording_is_left_out_with_skip_bad(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    break_audio(folder)
    with pytest.raises(DataError, match=r"1 of 3 are bad \(33.3%\), more than --max-rejected 0.05"):
        import_folder(folder, tmp_path / "out", CheckConfig(skip_bad=True))
    import_folder(folder, tmp_path / "out", CheckConfig(skip_bad=True, max_rejected=0.4))
    assert [x.id for x in read_source(tmp_path / "out")] == ["a", "c"]
    (row,) = read_jsonl(tmp_path / "out" / "rejected.jsonl")
    assert (row["id"], row["part"], row["check"]) == ("b", "dev", "unreadable")


def test_a_name_with_spaces_is_an_error_before_any_conversion(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    sf.write(folder / "my lecture.wav", tone(1), RATE)
    (folder / "my lecture.txt").write_text("我 們")
    with pytest.raises(DataError, match="'my lecture' cannot name a lecture"):
        import_folder(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_lectures_that_splits_do_not_list_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "splits.yaml").write_text("train: [a]\ntest: [c]\n")
    import_folder(folder, tmp_path / "out")
    assert "1 lectures are not in splits.yaml and are left out: b" in caplog.text
    (folder / "splits.yaml").write_text("train: []\n")
    with pytest.raises(DataError, match="lists no lecture"):
        import_folder(folder, tmp_path / "out")
    with pytest.raises(DataError, match="lists no lecture"):
        read_source(folder)


def test_lecture_whose_recording_is_a_broken_link_is_an_error(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "b.wav").unlink()
    (folder / "b.wav").symlink_to("nowhere.wav")
    with pytest.raises(DataError, match=r"b\.wav is not a file; if it is a link, its target is missing"):
        import_folder(folder, tmp_path / "out")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no lectures"):
        import_folder(tmp_path / "in", tmp_path / "out")


def test_a_suffix_in_capitals_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("我們", encoding="utf-8")
    (tmp_path / "a.WAV").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="a.WAV would be ignored; rename it to a.wav"):
        import_folder(tmp_path, tmp_path / "out")
