"""Rows of utterances.jsonl are checked when a source folder is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.corpora.source.folder import read_source
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_jsonl


@pytest.mark.parametrize(
    ("change", "message"),
    [({"part": "tset"}, "line 1: part 'tset' is none of train"), ({"id": "../a"}, "'../a' cannot name")],
)
def test_utterances_that_stage_0_would_not_write_are_errors(tmp_path: Path, change: dict, message: str) -> None:
    row = {"id": "a", "part": "test", "audio": "a.wav", "text": "a", "translation": "", "lecture": None, "number": None}
    write_jsonl(tmp_path / "utterances.jsonl", [row])
    assert [x.id for x in read_source(tmp_path)] == ["a"]
    write_jsonl(tmp_path / "utterances.jsonl", [row | change])
    with pytest.raises(DataError, match=message):
        read_source(tmp_path)
    write_jsonl(tmp_path / "utterances.jsonl", [{"id": "a"}])
    with pytest.raises(DataError, match=r"utterances\.jsonl, line 1: not an utterance as stage 0 writes it"):
        read_source(tmp_path)
