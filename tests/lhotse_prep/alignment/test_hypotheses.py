"""A recogniser's words from CTM and JSON lines, and the errors of both."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.alignment.hypotheses import read_hypotheses
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


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ctm", "week1 1 2.0\n", "line 1: expected 'recording channel start duration word'"),
        ("a.ctm", "week1 1 0 1 a\nweek1 1 x 1 a\n", "line 2: 'x' is no time"),
        ("a.ctm", "week1 1 -2 1 a\n", "line 1: '-2' is no time"),
        ("a.jsonl", "{}\n", 'line 1: expected "id"'),
        ("a.jsonl", '{"id": "a", "words": [{"text": "b"}]}\n', 'line 1: each of "words"'),
        ("a.jsonl", '{"id": "a", "tokens": ["b"], "timestamps": []}\n', "line 1: 1 tokens and 0 timestamps"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_hypotheses(tmp_path / name)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no .ctm or .jsonl file"):
        read_hypotheses(tmp_path)
