"""Files of hotwords, which all recognisers read in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from ml2021.asr.words.hotwords import Term, read_terms


def test_terms_with_and_without_scores(tmp_path: Path) -> None:
    path = tmp_path / "terms.txt"
    content = "\ufeffBERT :2.5\r\n\r\n 自注意力  機制\t:-1\n。。\n10:30\nx :.5 \n"
    path.write_text(content, encoding="utf-8", newline="")
    assert read_terms(path) == [
        Term("BERT", "bert", 2.5, f"{path}, line 1"),
        Term("自注意力 機制", "自 注 意 力 機 制", -1.0, f"{path}, line 3"),
        Term("10:30", "10:30", None, f"{path}, line 5"),
        Term("x", "x", 0.5, f"{path}, line 6"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "terms.txt has no hotwords: write one term per line"),
        ("\n 。 \n", "terms.txt has no hotwords"),
        ("a\nb :x", "terms.txt, line 2: the score 'x' is not a finite number"),
        ("a\n\nb :nan", "line 3: the score 'nan' is not a finite number"),
        ("term:2.5", "line 1: 'term:2.5' seems to have a score that would be read as a part of the term"),
        ("詞：2.5", "line 1: '詞：2.5' seems to have a score"),
        (":2.5", "line 1: ':2.5' seems to have a score"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "terms.txt").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_terms(tmp_path / "terms.txt")
    with pytest.raises(DataError, match="no hotwords file .*none.txt: name a file with one term per line"):
        read_terms(tmp_path / "none.txt")
