"""Ids for the rows of tables, and rows whose `file` an earlier row has already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from lhotse_prep.corpora.tables.rows import RowPlace
from lhotse_prep.workflow.findings import Finding


def unique_ids(places: Sequence[RowPlace]) -> list[str]:
    """An id for each row: the stem of `file`, preceded by its folders if the stem repeats in a part; without spaces."""
    stems = Counter((p.part, PurePosixPath(p.file).stem) for p in places)
    ids = []
    for p in places:
        path = PurePosixPath(p.file)
        name = path.stem if stems[p.part, path.stem] == 1 else "_".join((*path.parent.parts, path.stem))
        ids.append("_".join(name.replace("/", "_").split()).lstrip("."))
    return ids


def repeated_files(places: Sequence[RowPlace], kind: str, across_parts: bool) -> list[tuple[int, Finding]]:
    """(index, finding) of each row whose `file` an earlier row has.

    Args:
      places: all rows.
      kind: what a finding calls a row.
      across_parts: compare rows of all parts; otherwise only rows of the same part.
    """
    first: dict[tuple[str, str], RowPlace] = {}
    findings = []
    for index, p in enumerate(places):
        key = ("" if across_parts else p.part, p.file)
        if key in first:
            within = "" if across_parts else f" within {p.part}"
            message = f"`file` {p.file} is in {first[key].where} and in {p.where}"
            remedy = f"`file` must be unique{within}: rename one or take it out"
            finding = Finding("duplicate-id", kind, PurePosixPath(p.file).stem, p.part, message, remedy)
            findings.append((index, finding))
        else:
            first[key] = p
    return findings
