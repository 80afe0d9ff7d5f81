"""A recogniser's words from CTM and JSON lines, and the errors of both."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from lhotse_prep.alignment.hypotheses import Hypothesis, of_recordings, read_hypotheses
from lhotse_prep.workflow.errors import DataError


def test_ctm(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    path.write_text(";; comment\nweek1 1 2.0 0.4 BERT 0.9\nweek1 1 1.0 0.6 我們\n\nweek2 A 0 1 好,\n", encoding="utf-8")
    hypotheses = read_hypotheses(path)
    assert hypotheses.keys() == {"week1", "week2"}
    assert hypotheses["week1"].words == ["我", "們", "bert"] and hypotheses["week2"].words == ["好"]
    assert hypotheses["week1"].start.tolist() == [1.0, 1.3, 2.0] and hypotheses["week1"].end.tolist() == [1.3, 1.6, 2.4]


def test_ctm_as_windows_writes_it(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_bytes("\ufeffweek1 1 0.5 0.25 我\r\n".encode())
    assert read_hypotheses(tmp_path / "x.ctm")["week1"].words == ["我"]
    (tmp_path / "x.ctm").rename(tmp_path / "X.CTM")
    assert read_hypotheses(tmp_path / "X.CTM")["week1"].words == read_hypotheses(tmp_path)["week1"].words == ["我"]
    (tmp_path / "x.ctm").write_bytes("week1 1 0.5 0.25 我\n".encode("big5"))
    with pytest.raises(DataError, match=r"x\.ctm is not UTF-8"):
        read_hypotheses(tmp_path / "x.ctm")


def test_json_lines_of_words_and_of_pieces(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "week1", "words": [{"text": "Loss", "start": 1, "end": 1.5}]}\n')
    (tmp_path / "b.jsonl").write_text(
        '{"id": "week1", "tokens": ["▁neu", "ral", "網", "路", "▁a", "b"], "timestamps": [2, 2.2, 2.4, 2.7, 9, 9.1]}\n',
        encoding="utf-8",
    )
    week1 = read_hypotheses(tmp_path)["week1"]
    assert week1.words == ["loss", "neural", "網", "路", "ab"]
    assert week1.start.tolist() == [1, 2, 2.4, 2.7, 9]
    assert week1.end.tolist() == pytest.approx([1.5, 2.4, 2.7, 3.2, 9.6])


def word(start: str, end: str) -> str:
    """A JSON line with one word."""
    return f'{{"id": "a", "words": [{{"text": "b", "start": {start}, "end": {end}}}]}}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ctm", "week1 1 2.0\n", "line 1: expected 'recording channel start duration word'"),
        ("a.ctm", "week1 1 0 1 a\nweek1 1 x 1 a\n", "line 2: 'x' is no time"),
        ("a.ctm", "week1 1 -2 1 a\n", "line 1: '-2' is no time"),
        ("a.jsonl", "{}\n", 'line 1: expected "id"'),
        ("a.jsonl", '{"id": "a", "words": [{"text": "b"}]}\n', 'line 1: each of "words"'),
        ("a.jsonl", '{"id": "a", "tokens": ["b"], "timestamps": []}\n', "line 1: 1 tokens and 0 timestamps"),
        ("a.jsonl", '{"id": 5, "words": []}\n', 'line 1: "id" must be a text'),
        ("a.jsonl", '{"id": "a", "words": {}}\n', 'line 1: "words" must be a list of objects'),
        ("a.jsonl", '{"id": "a", "words": ["b"]}\n', 'line 1: "words" must be a list of objects'),
        ("a.jsonl", '{"id": "a", "words": null}\n', 'line 1: "words" must be a list of objects'),
        ("a.jsonl", '{"id": "a", "tokens": [1], "timestamps": [1]}\n', 'line 1: "tokens" must be a list of texts'),
        (
            "a.jsonl",
            '{"id": "a", "tokens": ["b"], "timestamps": "1"}\n',
            'line 1: "timestamps" must be a list of numbers',
        ),
        ("a.jsonl", '{"id": "a", "tokens": ["b"], "timestamps": [true]}\n', "line 1: True is no time"),
        ("a.jsonl", '{"id": "a", "tokens": ["b"], "timestamps": [NaN]}\n', "line 1: nan is no time"),
        ("a.jsonl", '{"id": "a", "words": [{"text": 1, "start": 0, "end": 1}]}\n', 'line 1: each of "words"'),
        ("a.jsonl", word('"0"', "1"), "line 1: start of 'b': '0' is no time"),
        ("a.jsonl", word("0", "Infinity"), "line 1: end of 'b': inf is no time"),
        ("a.jsonl", word("0", "1" + "0" * 400), "line 1: end of 'b': 10+ is no time"),
        ("a.jsonl", word("2", "1"), "line 1: 'b' ends at 1 s, before it starts at 2 s"),
        ("a.jsonl", word("null", "1"), "line 1: start of 'b': None is no time"),
        ("a.ctm", "week1 1 0.5 0 a\nweek1 1 1.5 0.0 b\n", "a.ctm: recording week1: all of its 2 words last 0 s"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_hypotheses(tmp_path / name)


def test_words_in_no_order_are_refused_and_those_of_two_channels_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.ctm"
    rows = [f"week1 A {i / 2:.1f} 0.3 a{i}" for i in range(40)]
    path.write_text("\n".join([*rows, *(row.replace("A", "B") for row in rows)]))
    assert len(read_hypotheses(path)["week1"].words) == 80
    path.write_text("\n".join(rows[i * 17 % 40] for i in range(40)))
    with pytest.raises(DataError, match=r"a\.ctm: recording week1: \d+ of its 40 words start more than 1 s before the"):
        read_hypotheses(path)


def hypotheses(*names: str) -> dict[str, Hypothesis]:
    return {name: Hypothesis([name], np.zeros(1), np.ones(1)) for name in names}


@pytest.mark.parametrize(
    ("in_file", "recording"),
    [
        ("week1", "week1"),
        ("audio/day 1/week1.wav", "week1"),
        ("C:\\talks\\week1.FLAC", "week1"),
        (unicodedata.normalize("NFD", "café 第一講"), unicodedata.normalize("NFC", "café 第一講")),
        (unicodedata.normalize("NFC", "é.wav"), unicodedata.normalize("NFD", "é")),
        ("my lecture", "my%20lecture"),
        ("v1.2", "v1.2"),
    ],
)
def test_names_as_other_programs_write_them(in_file: str, recording: str) -> None:
    words = of_recordings(hypotheses(in_file, "week2"), [recording, "week2"], str)
    assert words[recording].words == [in_file] and words["week2"].words == ["week2"]


def test_recordings_without_words_and_words_without_recording(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match=r"none for \['b', 'c'\]"):
        of_recordings(hypotheses("a", "x"), ["a", "b", "c"], lambda missing: f"none for {missing}")
    of_recordings(hypotheses("a", *(f"x{i}" for i in range(7))), ["a"], str)
    assert "7 recordings that are not among the lectures: x0, x1, x2, x3, x4 and 2 more" in caplog.text
    with pytest.raises(DataError, match=r"lecture week1: it is not clear which .* \(a/week1.wav, b/week1.wav\)"):
        of_recordings(hypotheses("a/week1.wav", "b/week1.wav"), ["week1"], str)
    assert of_recordings(hypotheses("week1.wav", "week1"), ["week1"], str)["week1"].words == ["week1"]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no .ctm or .jsonl file"):
        read_hypotheses(tmp_path)
