"""Reads and writes the files of sentence pairs; a part without pairs has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, write_jsonl
from lhotse_prep.workflow.findings import REJECTED

PATTERNS = (*(f"{part}.jsonl" for part in PARTS), REJECTED, "scores.json")  # all files of a folder of pairs
_TYPES = {"id": str, "lecture": str, "source": str, "target": str, "first_token": int, "num_tokens": int}


def write_pairs(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write sentence pairs; no file for no pairs."""
    if rows:
        write_jsonl(path, rows)
    else:
        path.unlink(missing_ok=True)


def read_pairs(path: Path, needs: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read PART.jsonl; no pairs if there is no such file beside the rejected ones, which stage 7 always writes.

    Args:
      needs: keys that each row must have.
    Raises:
      DataError: there are no such files, or a row is not as stage 7 writes it.
    """
    if not path.is_file():
        if (path.parent / REJECTED).is_file():
            return []
        raise DataError(f"no bitext {path}: stage 7 makes it")
    rows = read_jsonl(path)
    for number, row in enumerate(rows, 1):
        if missing := [name for name in needs if name not in row]:
            raise DataError(f'{path}, line {number}: no "{missing[0]}"; make the file again with stage 7')
        for name, kind in _TYPES.items():
            if name in row and (not isinstance(row[name], kind) or isinstance(row[name], bool)):
                expected = "a text" if kind is str else "a whole number"
                raise DataError(f'{path}, line {number}: "{name}" must be {expected}; make the file again with stage 7')
    return rows
