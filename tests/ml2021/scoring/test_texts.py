"""Transcripts of other systems are read in every format, and damaged lines are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.texts import read_texts

CTM = ";; made by another system\nw1 1 0.50 0.2 學 0.9\nw1 1 0.10 0.4 機\nw2 A 3 1 deep -0.7\n"


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("utt-1 我 們 deep\nutt-2\n\nutt-3  好 \n", {"utt-1": "我 們 deep", "utt-2": "", "utt-3": "好"}),
        ("\ufeffa 我\r\nb 你\r\n", {"a": "我", "b": "你"}),
        ("我們用 deep net\n好\n", {"1": "我們用 deep net", "2": "好"}),
        ("so we train\nso we test\nso\n", {"1": "so we train", "2": "so we test", "3": "so"}),
        ("a-1:\tref=['我', \"it's\"]\na-1:\thyp=[]\n", {"a-1": ""}),
        (CTM, {"w1": "機 學", "w2": "deep"}),
        ("", {}),
    ],
)
def test_formats_are_recognised(tmp_path: Path, content: str, texts: dict[str, str]) -> None:
    (tmp_path / "x").write_text(content, encoding="utf-8", newline="")
    result = read_texts(tmp_path / "x", "hyp")
    assert result == texts and list(result) == list(texts)


def test_format_can_be_specified(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one deep net\ntwo\n", encoding="utf-8")
    assert read_texts(tmp_path / "x", "ref", "bare") == {"1": "one deep net", "2": "two"}
    assert read_texts(tmp_path / "x", "ref", "kaldi") == {"one": "deep net", "two": ""}


@pytest.mark.parametrize(
    ("content", "file_format", "message"),
    [
        (b"a x\nb y\na z\n", "auto", "utterance a occurs twice.*--format bare"),
        (b"a:\tref=['x']\nbroken\n", "auto", "not a line of a recogs file: 'broken'"),
        (b"a:\tref=['x']\na:\thyp=[oops]\n", "auto", "not a line of a recogs file"),
        (b"w1 1 0.5 0.2 net\nw1 1 oops\n", "ctm", "line 2: expected 'recording channel start duration word'.*oops"),
        (b"a \xff\n", "auto", "not UTF-8"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, file_format: str, message: str) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_texts(tmp_path / "x.txt", "ref", file_format)
