"""Sentence pairs: a part without pairs has no file; wrong rows are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.bitext.files import read_pairs, write_pairs
from lhotse_prep.manifests.files import read_texts
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl

ROW = {"id": "a-0000", "lecture": "a", "source": "我", "target": "I", "first_token": 0, "num_tokens": 1}


def test_no_pairs_leave_no_file_and_are_read_as_none(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    write_pairs(path, [ROW])
    assert read_pairs(path) == [ROW]
    write_pairs(path, [])
    assert not path.exists()
    with pytest.raises(DataError, match="no bitext .*dev.jsonl: stage 7 makes it"):
        read_pairs(path)
    write_jsonl(tmp_path / "rejected.jsonl", [])
    assert read_pairs(path) == []
    path.write_text("")
    assert read_pairs(path) == []


@pytest.mark.parametrize("change", [{"source": None}, {"target": ["I"]}, {"first_token": "0"}, {"num_tokens": True}])
def test_wrong_types_are_named_with_their_line(tmp_path: Path, change: dict[str, object]) -> None:
    write_jsonl(tmp_path / "train.jsonl", [ROW, ROW | change])
    with pytest.raises(DataError, match=rf'train.jsonl, line 2: "{next(iter(change))}" must be a'):
        read_pairs(tmp_path / "train.jsonl")
    write_jsonl(tmp_path / "train.jsonl", [{k: v for k, v in ROW.items() if k not in change}])
    with pytest.raises(DataError, match=f'line 1: no "{next(iter(change))}"'):
        read_pairs(tmp_path / "train.jsonl", list(ROW))


@pytest.mark.parametrize("row", [{"id": "a"}, {"id": 1, "text": "我"}, {"id": "a", "text": "我", "translation": None}])
def test_text_only_lectures_must_be_texts(tmp_path: Path, row: dict[str, object]) -> None:
    write_jsonl(tmp_path / "texts.jsonl", [{"id": "a", "text": "我", "translation": "I"}, row])
    with pytest.raises(DataError, match='texts.jsonl, line 2: expected "id", "text" and "translation", each a text'):
        read_texts(tmp_path / "texts.jsonl")
