"""Rows that are read one at a time: again and again from a temporary file, or all rows of a recording by its id.

Manifests of many recordings are joined so: nothing but the rows of one recording and the ids of all are in memory.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class Spill(Generic[T]):
    """Rows in a temporary file without a name, which goes with the object: to read them again, in order or by place."""

    def __init__(self, folder: Path | None = None, rows: Iterable[T] = ()) -> None:
        """
        Args:
          folder: on a disk with room for the rows; None: the system's folder for temporary files.
          rows: the first ones.
        """
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - open as long as the object is there
        self._end = 0
        self._num_rows = 0
        for row in rows:
            self.add(row)

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[T]:
        place = 0
        for _ in range(self._num_rows):  # another reader may move the file's position between two rows
            row, place = self._read(place)
            yield row

    def add(self, row: T) -> int:
        """Append a row; returns its place."""
        place = self._end
        self._file.seek(place)
        pickle.dump(row, self._file, pickle.HIGHEST_PROTOCOL)
        self._end = self._file.tell()
        self._num_rows += 1
        return place

    def at(self, place: int) -> T:
        """The row at a place that add returned."""
        return self._read(place)[0]

    def _read(self, place: int) -> tuple[T, int]:
        self._file.seek(place)
        row = cast("T", pickle.load(self._file))  # only what add wrote to a file that nobody else can open
        return row, self._file.tell()


class Grouped(Generic[T]):
    """The rows of each key, such as the supervisions of a recording, from a file that is read row by row."""

    def __init__(
        self, read: Callable[[], Iterable[T]], key: Callable[[T], str], folder: Path | None, keys: Iterable[str] | None
    ) -> None:
        """
        Args:
          read: opens the rows, which are the same each time.
          key: of a row.
          folder: see Spill.
          keys: those of all rows in order, if the caller reads them for another purpose too; None: they are read here.
        """
        self.read, self.key, self.folder = read, key, folder
        self.stand_together = True  # whether no row of another key is between those of a key
        self._digests: set[bytes] = set()
        for name, _ in groupby(map(key, read()) if keys is None else keys):
            digest = key_digest(name)
            self.stand_together &= digest not in self._digests
            self._digests.add(digest)

    def __contains__(self, key: str) -> bool:
        return key_digest(key) in self._digests

    def groups(self) -> Iterator[tuple[str, list[T]]]:
        """(key, its rows) in the order of the first row of each key."""
        if self.stand_together:
            for key, rows in groupby(self.read(), self.key):
                yield key, list(rows)
            return
        lookup = Lookup(self, keeps=False)
        yield from ((key, lookup.rows_of(key)) for key in lookup.keys_passed())

    def lookup(self, keeps: bool = False) -> Lookup[T]:
        """Open the rows once to look them up by key; with `keeps`, one key may be asked for several times."""
        return Lookup(self, keeps)


class Lookup(Generic[T]):
    """One reading of rows that are looked up by key.

    If the rows of each key stand together, the file is read as far as the key that is asked for, and what is passed on
    the way goes to a temporary file: nothing, if the keys are asked for in the order of the file. Otherwise all rows go
    to the temporary file first.
    """

    def __init__(self, rows: Grouped[T], keeps: bool) -> None:
        self._all, self._keeps = rows, keeps
        self._groups = groupby(rows.read(), rows.key)
        self._places: dict[str, list[int]] = {}  # of the rows in the temporary file
        self._passed: Spill[list[T]] | None = None
        if not rows.stand_together:
            for key, group in self._groups:
                self._pass(key, list(group))

    def rows_of(self, key: str) -> list[T]:
        """The rows of a key in order; none if there are none, or, unless it keeps them, if they were asked for."""
        if (places := self._places.get(key)) is not None and self._passed is not None:
            if not self._keeps:
                del self._places[key]
            return [row for place in places for row in self._passed.at(place)]
        if key not in self._all:
            return []
        for name, group in self._groups:
            rows = list(group)
            if name != key or self._keeps:
                self._pass(name, rows)
            if name == key:
                return rows
        return []

    def keys_passed(self) -> list[str]:
        """The keys in the temporary file, in the order of the first row of each."""
        return list(self._places)

    def _pass(self, key: str, rows: list[T]) -> None:
        if self._passed is None:
            self._passed = Spill(self._all.folder)
        self._places.setdefault(key, []).append(self._passed.add(rows))


def key_digest(*keys: str) -> bytes:
    """16 bytes that stand for a key, or for several together, in a set of millions."""
    return hashlib.blake2b("\0".join(keys).encode("utf-8", "surrogatepass"), digest_size=16).digest()
