"""Digests are plain SHA-256, so that files written by earlier versions keep theirs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from lhotse_prep.workflow.digests import digest_bytes, digest_file, digest_parts, digest_tree


def test_bytes_parts_and_files_agree(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000  # more than the block that is read at a time
    (tmp_path / "file").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert digest_bytes(content) == digest_parts([content[:9], b"", content[9:]]) == expected
    assert digest_file(tmp_path / "file") == expected
    assert digest_bytes(b"") == digest_parts([]) == hashlib.sha256().hexdigest()


def test_a_tree_has_all_files_but_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b", "deep/a", ".done", "deep/.key"):
        (tmp_path / name).write_text(name)
    assert digest_tree(tmp_path) == {"b": digest_bytes(b"b"), "deep/a": digest_bytes(b"deep/a")}
