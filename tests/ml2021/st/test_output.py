"""All files of a lecture, and what each of them says."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pysubs2
import pytest

from lhotse_prep.alignment.ctm import read_ctm
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.output import SUFFIXES, Segment, write_lecture
from ml2021.st.sentences import Word, split_sentences, with_scores


def segments() -> list[Segment]:
    texts = ["我", "們", "train", "bert", "那", "就", "好"]
    words: list[Word] = [(text, 0.5 + 0.3 * i, 0.75 + 0.3 * i) for i, text in enumerate(texts)]
    sentences = split_sentences(words, SentenceConfig(), ["", "", "", "，", "", "", "。"])
    return [Segment(s, "We train BERT.", -0.1) for s in with_scores(sentences, [0.9] * 7)]


def test_every_file_is_there_and_right(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_lecture("week 1", segments(), tmp_path, SubtitleConfig(), 10.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"week 1{suffix}" for suffix in SUFFIXES)
    for suffix in (".srt", ".vtt", ".ass"):
        assert [e.plaintext for e in pysubs2.load(str(tmp_path / f"week 1{suffix}"))] == [
            "我們 train bert，那就好。\nWe train BERT."
        ]
    assert [w.word for w in read_ctm(tmp_path / "week 1.ctm")] == ["我", "們", "train", "bert", "那", "就", "好"]
    assert read_ctm(tmp_path / "week 1.ctm")[2] == ("week 1", 1.1, 0.25, "train", 0.9)
    row = json.loads((tmp_path / "week 1.jsonl").read_text())
    assert row["source"] == "我們 train bert，那就好。" and row["words"][3] == [
        "bert",
        1.4,
        1.65,
    ]  # scores need it bare
    files = json.loads((tmp_path / "week 1.subtitles.json").read_text())["files"]
    assert {name: file["cues"] for name, file in files.items()} == {"week 1": 1, "week 1.zh": 1, "week 1.en": 1}
    assert "week 1: all 3 cues are within the limits" in caplog.text


def test_cues_beyond_limits_are_counted_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write_lecture("x", segments(), tmp_path, SubtitleConfig(), 1.2)  # the audio ends at once
    assert "x: 3 of 3 cues break a limit (" in caplog.text and "min_duration 3" in caplog.text
    assert "x.subtitles.json" in caplog.text and len(caplog.records) == 1


def test_a_lecture_without_words_has_all_files(tmp_path: Path) -> None:
    write_lecture("x", [], tmp_path, SubtitleConfig(), 10.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"x{suffix}" for suffix in SUFFIXES)
    assert read_ctm(tmp_path / "x.ctm") == []
