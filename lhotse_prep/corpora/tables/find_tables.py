"""Finds the parquet tables of a corpus, in the layouts of the Hugging Face hub, and the part that each one belongs to.

The hub's layouts are data/PART-00000-of-00001.parquet, CONFIG/PART/0000.parquet, NAME-PART-00000-of-00001.parquet,
PART_clean-*.parquet, a folder for each part, and its cache, where the tables are links in snapshots/REVISION. A part is
known by its name as the hub knows it (https://huggingface.co/docs/hub/datasets-file-names-and-splits): a whole word of
the file name or of a folder, whatever stands beside it.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lhotse_prep.workflow.errors import DataError, list_names
from lhotse_prep.workflow.files import is_clutter

logger = logging.getLogger(__name__)

PART_NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "devel", "development", "validation", "valid", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_PART_OF_NAME = {name: part for part, names in PART_NAMES.items() for name in names}
_SHARD = re.compile(r"(.*?)[-_.]?(\d+)[-_.]of[-_.](\d+)(?!\d)")
_NUMBER = re.compile(r"()(\d+)\.parquet$", re.IGNORECASE)
_SUFFIX = ".parquet"


@dataclass(frozen=True)
class Table:
    """A parquet file."""

    path: Path
    name: str  # its path in the corpus, for messages
    part: str | None  # train, dev or test; None if nothing in its name says so

    @property
    def group(self) -> tuple[Path, str]:
        """The same for all shards of a table: its folder, and its name with # for each number."""
        return self.path.parent, re.sub(r"\d+", "#", self.path.name)


def find_tables(path: Path) -> list[Table]:
    """The .parquet files of a folder and its subfolders, or the file itself, sorted by name.

    Hidden folders and what file managers leave behind are passed over.

    Raises:
      DataError: a link without its target, a missing shard, a name that says two parts, two snapshots of one data set.
    """
    if path.is_file():
        match = _SHARD.match(path.name)
        if match and int(match[3]) > 1:
            logger.warning("%s is one of %d shards; the others are not read", path, int(match[3]))
        return [Table(path, path.name, _part_of(path.absolute().parent.name, (path.name,)))]
    files = sorted(_parquet_files(path, set()))
    _require_one_snapshot(files)
    tables = []
    for file in files:
        relative = file.relative_to(path)
        tables.append(Table(file, str(relative), _part_of(path.absolute().name, _inside_snapshot(relative.parts))))
    _require_all_shards(tables)
    return tables


def with_parts(tables: Sequence[Table], kind: str) -> list[Table]:
    """The tables of one kind, each with a part; one table whose name says no part counts as train.

    Args:
      tables: as find_tables returns them.
      kind: what messages call the rows.
    Raises:
      DataError: there are several tables, and the name of one says no part.
    """
    unknown = [t for t in tables if t.part is None]
    if not unknown:
        return list(tables)
    if len(unknown) < len(tables) or len({t.group for t in tables}) > 1:
        known = "; ".join(f"{part}: {', '.join(names)}" for part, names in PART_NAMES.items())
        raise DataError(
            f"{unknown[0].name}: neither its name nor a folder's says its part ({len(unknown)} of {len(tables)} are "
            f"such); rename it, or move it into a folder called train, dev or test (names that are known: {known})"
        )
    if kind == "utterance":
        logger.warning("%s: its name says no part, so all its utterances are for train", unknown[0].name)
    return [replace(t, part="train") for t in tables]


def part_of_name(name: str) -> str | None:
    """The part that a file or folder name says, or None; raises DataError if it says two.

    The part is a whole word between characters other than letters: test in `NAME-test-00000-of-00001`, train in
    `train.clean.100` and in `split=train`.
    """
    parts = {_PART_OF_NAME[word] for word in re.findall("[a-z]+", name.lower()) if word in _PART_OF_NAME}
    if len(parts) > 1:
        raise DataError(f"{name} says two parts, {' and '.join(sorted(parts))}; rename it so that it says one")
    return parts.pop() if parts else None


def _part_of(corpus: str, names: Sequence[str]) -> str | None:
    """The part of a table by its name or else that of the nearest folder that says one; None if none does.

    Args:
      corpus: the name of the corpus's folder; it counts only if it is a part and the table is called by a number alone.
      names: of the folders in the corpus, and of the table.
    Raises:
      DataError: a name says two parts, or a folder that is called like a part contradicts.
    """
    if Path(names[-1]).stem.isdecimal() and corpus.lower() in _PART_OF_NAME:
        names = (corpus, *names)
    part: str | None = None
    for name in reversed(names):
        folder_part = _PART_OF_NAME.get(name.lower().removeprefix("split="))
        if part is not None and folder_part not in (None, part):
            raise DataError(f"{'/'.join(names)} says two parts: {part}, in a folder called {name}; rename one of them")
        if part is None:
            part = part_of_name(name)
    return part


def _parquet_files(folder: Path, seen: set[str]) -> Iterator[Path]:
    """All .parquet files below a folder; links to folders are followed, once."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or is_clutter(path.name):
            continue
        if path.is_dir():
            yield from _parquet_files(path, seen)
        elif path.suffix.lower() == _SUFFIX:
            if not path.exists():
                raise DataError(f"{path} is a link whose target {os.readlink(path)} is missing; download it again")
            yield path


def _inside_snapshot(parts: tuple[str, ...]) -> tuple[str, ...]:
    """What follows snapshots/REVISION in the path of a file of the hub's cache."""
    return parts[parts.index("snapshots") + 2 :] if "snapshots" in parts[:-2] else parts


def _require_one_snapshot(files: Iterable[Path]) -> None:
    """Raise DataError if files are in two revisions of one data set in the hub's cache."""
    revisions: dict[Path, set[str]] = {}
    for file in files:
        for folder in file.absolute().parents:
            if folder.parent.name == "snapshots" and (folder.parent.parent / "blobs").is_dir():
                revisions.setdefault(folder.parent, set()).add(folder.name)
    for snapshots, names in revisions.items():
        if len(names) > 1:
            raise DataError(
                f"{snapshots} holds {len(names)} revisions of one data set ({', '.join(sorted(names))}); "
                "give the folder of one of them"
            )


def _require_all_shards(tables: Iterable[Table]) -> None:
    """Raise DataError if a shard of a table is missing, or if the shards of two exports are mixed.

    Shards are called ...-00000-of-00002.parquet, or by numbers alone, from 0000.parquet.
    """
    shards: dict[tuple[Path, str], list[tuple[re.Match[str], Table]]] = {}
    for table in tables:
        if match := _SHARD.match(table.path.name) or _NUMBER.match(table.path.name):
            prefix = match[1] if match.re is _SHARD else "#"
            shards.setdefault((table.path.parent, prefix), []).append((match, table))
    for group in shards.values():
        matches = [match for match, _ in group]
        name = group[0][1].name
        numbers = sorted(int(match[2]) for match in matches)
        totals = {int(match[3]) for match in matches if match.re is _SHARD}
        if not totals and numbers[0] > 0:
            continue  # names such as 2021.parquet, which count nothing
        total = max(totals) if totals else numbers[-1] + 1
        first = 1 if numbers[0] > 0 and numbers[-1] == total else 0
        expected = range(first, first + total)
        if len(totals) > 1 or len(set(numbers)) < len(numbers) or numbers[-1] not in expected:
            raise DataError(f"{name} and {group[-1][1].name} are shards of two exports of one table; keep one of them")
        if missing := [_shard_name(matches[0], number) for number in expected if number not in numbers]:
            raise DataError(
                f"{name} is one of {total} shards, and the corpus lacks {list_names(missing)}; download them too"
            )


def _shard_name(match: re.Match[str], number: int) -> str:
    """The name of another shard of a table, without what follows its number."""
    return match.string[: match.start(2)] + str(number).zfill(len(match[2])) + match.string[match.end(2) : match.end()]
