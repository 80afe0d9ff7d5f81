"""Reads and writes the files of sentence pairs; a part without pairs has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, write_jsonl
from lhotse_prep.workflow.findings import REJECTED

PATTERNS = (*(f"{part}.jsonl" for part in PARTS), REJECTED, "scores.json")  # all files of a folder of pairs
_TYPES = {"id": str, "lecture": str, "source": str, "target": str, "first_token": int, "num_tokens": int}


def write_pairs(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write sentence pairs, each as it comes; no file for no pairs."""
    left = iter(rows)
    first = next(left, None)
    if first is None:
        path.unlink(missing_ok=True)
    else:
        write_jsonl(path, chain([first], left))


def read_pairs(path: Path, needs: Sequence[str] = ()) -> list[dict[str, Any]]:
    """All that iterate_pairs yields."""
    return list(iterate_pairs(path, needs))


def iterate_pairs(path: Path, needs: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Read PART.jsonl row by row; no pairs if there is no such file beside the rejected ones, which are always there.

    Args:
      needs: keys that each row must have.
    Raises:
      DataError: there are no such files, or a row is not as stage 7 writes it.
    """
    if not path.is_file():
        if (path.parent / REJECTED).is_file():
            return
        raise DataError(f"no bitext {path}: stage 7 makes it")
    for number, row in enumerate(iterate_jsonl(path), 1):
        if missing := [name for name in needs if name not in row]:
            raise DataError(f'{path}, line {number}: no "{missing[0]}"; make the file again with stage 7')
        for name, kind in _TYPES.items():
            if name in row and (not isinstance(row[name], kind) or isinstance(row[name], bool)):
                expected = "a text" if kind is str else "a whole number"
                raise DataError(f'{path}, line {number}: "{name}" must be {expected}; make the file again with stage 7')
        yield row
