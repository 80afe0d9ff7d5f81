"""Folders of lectures become source folders; errors in them name the lecture."""

from __future__ import annotations

import unicodedata
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
    (folder / "splits.yaml").write_text("train: [a]\ndev: [b]\ntest: [c]\ntext: [unspoken]\ndecode: [untranscribed]\n")
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


def test_a_text_alone_is_left_out_unless_splits_list_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "NOTES.txt").write_text("筆 記")
    (folder / "README.txt").write_text("Three lectures.")
    (folder / "README.en.txt").write_text("Three lectures.")
    import_folder(folder, tmp_path / "out")
    assert {x.id for x in read_source(tmp_path / "out")} == {"a", "b", "c"}
    assert "3 texts without a recording are left out: NOTES.txt, README.txt, README.en.txt" in caplog.text
    (folder / "splits.yaml").write_text("train: [a, b, c]\ntext: [NOTES]\n")
    import_folder(folder, tmp_path / "out2")
    assert {x.id: x.part for x in read_source(tmp_path / "out2")}["NOTES"] == "text"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_paired_whatever_their_unicode_form_and_capitals(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    name = "Café_課程が"
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", name)
    sf.write(folder / f"{unicodedata.normalize(form, name)}.WAV", tone(0.5), RATE, format="WAV")
    (folder / f"{other}.TXT").write_text("我 們")
    (folder / f"{other}.En.Txt").write_text("We.")
    for splits in ("", f"test: [{name}]\n", f"test: [{other}]\n"):
        (folder / "splits.yaml").unlink(missing_ok=True)
        if splits:
            (folder / "splits.yaml").write_text(splits)
        out = tmp_path / f"out{len(splits)}{splits == f'test: [{other}]'}"
        import_folder(folder, out)
        (lecture,) = read_source(out)
        assert lecture.id == unicodedata.normalize("NFC", name)
        assert (lecture.part, lecture.transcript.strip(), lecture.translation.strip()) == (
            "test" if splits else "train",
            "我 們",
            "We.",
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\n\xe6\x88\x91\r\n", "holds subtitles"),
        ("WEBVTT\n\n00:01.000 --> 00:02.000\n我".encode(), "holds subtitles"),
        ("0:00\n大家好\n0:03\n我們\n0:07\n今天".encode(), "has times in 3 of its 6 lines"),
        (
            "Speaker 1  0:03\n大家好\nSpeaker 2  0:07\n我們\nSpeaker 1  1:02:11\n今天".encode(),
            "has times in 3 of its 6",
        ),
        ("b 1 0.00 0.41 大\nb 1 0.41 0.20 家\nb 1 0.61 0.22 好".encode(), "has times"),
        ("b-0001 大家好\nb-0002 我們\nb-0003 今天".encode(), r"has ids at the beginning of its lines \(b-0001\)"),
        ("[00:12.30]大家好\n[00:15.10]我們\n[00:19.00]今天".encode(), "has times"),
        (b"0.00\t1.50\tda\n1.50\t2.00\tjia\n2.00\t3.00\thao\n", "has times"),
        (b"<!DOCTYPE html><p>x</p>", "holds HTML"),
        (b'{"text": "x", "segments": []}', "holds JSON"),
        (rb"{\rtf1\ansi x}", "is an RTF document"),
        (b"PK\x03\x04\x14\x00", "is a zip archive or an office document"),
        (b"%PDF-1.4", "is a PDF document"),
        ("我們".encode("utf-16"), "is text in UTF-16; save it as plain text in UTF-8"),
        ("a b".encode("utf-16-le"), "is binary, or text in UTF-16"),
        ("我們".encode("big5"), r"is not UTF-8 \(byte 0, in line 1\)"),
        (b"RIFF\x00", "is a recording"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".en.txt"])
def test_texts_that_are_no_plain_text_are_refused_or_left_out(
    tmp_path: Path, content: bytes, message: str, suffix: str
) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / f"b{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=rf"^lecture b: .*in/b{suffix} {message}") as error:
        import_folder(folder, tmp_path / "out")
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()
    import_folder(folder, tmp_path / "out", CheckConfig(skip_bad=True, max_rejected=0.4))
    assert [x.id for x in read_source(tmp_path / "out")] == ["a", "c"]


def test_a_transcript_of_two_recordings_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_folder(tmp_path / "in")
    (folder / "c.txt").write_text("我們，A！")  # that of lecture a but for marks, spaces and capitals
    import_folder(folder, tmp_path / "out")
    assert "lecture c: its transcript is that of a; each recording needs its own" in caplog.text
    for part in "12":
        sf.write(folder / f"long_part{part}.wav", tone(0.5), RATE)
    (folder / "long.txt").write_text("全 部")
    import_folder(folder, tmp_path / "out2")
    assert "long.txt has no recording of its name, and long_part1, long_part2 no transcript" in caplog.text
    assert {x.id: x.part for x in read_source(tmp_path / "out2")}["long_part1"] == "decode"
