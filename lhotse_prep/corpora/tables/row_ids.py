"""Ids for the rows of tables, and rows whose id an earlier row has already.

Ids are file names, so they are in one Unicode form (NFC) and differ in more than capitals.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from lhotse_prep.corpora.source.splits import check_name
from lhotse_prep.corpora.tables.rows import RowPlace
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.findings import Finding


def unique_ids(places: Sequence[RowPlace], across_parts: bool) -> list[str]:
    """An id for each row: the stem of `file`, preceded by its folders if the stem repeats; without spaces.

    Args:
      places: all rows.
      across_parts: compare stems of all parts; otherwise only of rows of the same part.
    Raises:
      DataError: a `file` that cannot be a file name.
    """
    paths = [_path(p.file) for p in places]
    keys = [("" if across_parts else p.part, path.stem.casefold()) for p, path in zip(places, paths)]
    counts = Counter(keys)
    ids = []
    for place, path, key in zip(places, paths, keys):
        name = path.stem if counts[key] == 1 else "_".join((*path.parent.parts, path.stem))
        ids.append("_".join(name.replace("/", "_").split()).lstrip("."))
        try:
            check_name(ids[-1])
        except DataError as e:
            raise DataError(f"{place.where}, `file` {place.file}: {e}") from e
    return ids


def ids_across_parts(places: Sequence[RowPlace]) -> list[str]:
    """An id for each row, unique in its part; one that a row of an earlier part has gets its part as a prefix.

    So a test row with the name of a dev row is called test_NAME.
    """
    part_of_id: dict[str, str] = {}
    ids = []
    for p, name in zip(places, unique_ids(places, across_parts=False)):
        is_new = part_of_id.setdefault(name.casefold(), p.part) == p.part
        ids.append(name if is_new else f"{p.part}_{name}")
    return ids


def repeated_ids(places: Sequence[RowPlace], ids: Sequence[str], kind: str, within: str) -> dict[int, Finding]:
    """{index: finding} of each row whose id an earlier row has, since their `file` is the same or gives the same id.

    Args:
      places: all rows.
      ids: of the rows.
      kind: what a finding calls a row.
      within: what `file` must be unique in, {part} or the corpus.
    """
    first: dict[str, int] = {}
    findings = {}
    for index, (p, name) in enumerate(zip(places, ids)):
        earlier = places[first.setdefault(name.casefold(), index)]
        if earlier is p:
            continue
        message = f"`file` {p.file} is in {earlier.where} and in {p.where}"
        if p.file != earlier.file:
            message = f"`file` {earlier.file} in {earlier.where} and {p.file} in {p.where} give the same id {name}"
        remedy = f"`file` must be unique within {within.format(part=p.part)}: rename one or take it out"
        findings[index] = Finding("duplicate-id", kind, _path(p.file).stem, p.part, message, remedy)
    return findings


def _path(file: str) -> PurePosixPath:
    return PurePosixPath(unicodedata.normalize("NFC", file.replace("\\", "/")))
