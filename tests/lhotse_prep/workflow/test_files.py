"""Texts and JSON lines that cannot be read give one line that names the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, read_text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"text": "\\ud83d"}', r"\\ud83d is half of a character"),
        (b'{"\\udc00": 1}', r"\\udc00 is half of a character"),
        ('{"text": "中文"}'.encode("big5"), "not JSON"),
        (b'{"text": ', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "expected a JSON object"),
        (b'"text"', "expected a JSON object"),
    ],
    ids=range(7),
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 2 + line + b'\n{"text": "b"}\n')
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 3: .*{message}"):
        read_jsonl(path)


def test_pairs_of_surrogates_line_separators_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}\r\n' + '{"a": "x\u2028y"}'.encode())
    assert read_jsonl(path) == [{"a": "😀"}, {"a": "x\u2028y"}]


def test_big5_text_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"ok\n" + "中文".encode("big5"))
    with pytest.raises(DataError, match=r"a\.txt is not UTF-8 \(byte 3, in line 2\)"):
        read_text(path)
