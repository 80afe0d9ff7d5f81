"""Reads single items of a tar file of Lhotse Shar by their number, without reading what lies before them.

An item is two members: ID.flac, ID.llc or the like with the data, then ID.json, Lhotse's manifest of them. Where a cut
has no such data, the members are ID.nodata and ID.nometa. Nothing is unpacked to the disk.
"""

from __future__ import annotations

import json
import os
import tarfile
from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from lhotse_prep.workflow.errors import DataError

_CACHED_TARS = 1024  # whose offsets a process keeps: 8 bytes an item
_END = 1024  # zeros that end a tar file
_DAMAGED = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError)
_NO_DATA = (".nodata", ".nometa")


class TarItem(NamedTuple):
    """The data of a cut in a tar file, and Lhotse's manifest of them."""

    id: str
    suffix: str  # of the data, such as .flac or .llc
    data: bytes
    manifest: Any


def read_item(path: str, number: int, num_items: int | None) -> TarItem:
    """Item `number`, from 0.

    Args:
      path: the tar file.
      number: of the item.
      num_items: that the file must have; None: any, and `number` is 0.
    Raises:
      DataError: the file is missing, damaged or has another number of items, or the item has no data.
    """
    where = f"{path}, item {number + 1}"
    try:
        stat = os.stat(path)
        offsets = array("q", [0]) if num_items is None else _offsets(path, stat.st_size, stat.st_mtime_ns)
        if num_items is not None and len(offsets) != num_items:
            raise DataError(
                f"{path} has {len(offsets)} items, and the cuts of its shard are {num_items}: one of the two is cut "
                "short or of another export; make the shard again"
            )
        with open(path, "rb") as f:
            f.seek(offsets[number])
            with tarfile.TarFile(fileobj=f) as tar:
                (data_name, data), (name, content) = _content(tar, where), _content(tar, where)
    except _DAMAGED as e:
        raise _damaged(path, e) from e
    item_id, suffix = os.path.splitext(data_name)
    if suffix in _NO_DATA:
        raise DataError(f"{where}: it has no data of cut {item_id}; make the shard again with them")
    if name != f"{item_id}.json":
        raise DataError(f"{where}: after {data_name} comes {name}, not {item_id}.json; make the shard again")
    try:
        return TarItem(item_id, suffix, data, json.loads(content.decode("utf-8")))
    except (ValueError, RecursionError) as e:
        raise DataError(f"{where}: {name} is not JSON ({e}); make the shard again") from e


def require_whole(path: str) -> None:
    """Raise DataError if a tar file is missing or lacks its end, which costs no reading of the whole file."""
    try:
        with open(path, "rb") as f:
            size = f.seek(0, os.SEEK_END)
            f.seek(max(0, size - _END))
            end = f.read()
    except OSError as e:
        raise _damaged(path, e) from e
    if size % tarfile.BLOCKSIZE or len(end) < _END or any(end):
        raise DataError(f"{path} is cut short or no tar file: it has {size} bytes and not a tar's end; copy it again")


@lru_cache(maxsize=_CACHED_TARS)
def _offsets(path: str, size: int, mtime_ns: int) -> array[int]:
    """Where each item begins, in bytes; read anew if the size or the time of the file changes."""
    offsets, num_members = array("q"), 0
    with open(path, "rb") as f:
        for offset in _member_offsets(f):
            if num_members % 2 == 0:
                offsets.append(offset)
            num_members += 1
    if num_members % 2:
        raise DataError(f"{path} has {num_members} members, and each item has two; it is cut short or no Shar")
    return offsets


def _member_offsets(f: Any) -> Iterator[int]:
    with tarfile.TarFile(fileobj=f) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
            yield member.offset


def _content(tar: tarfile.TarFile, where: str) -> tuple[str, bytes]:
    """Name and content of the next member."""
    member = tar.next()
    if member is None:
        raise DataError(f"{where}: it is damaged; copy or make the shard again")
    stream = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if stream is None:
        raise DataError(f"{where}: {member.name} is a link, a folder or the like, not a file; make the shard again")
    return member.name, stream.read()


def _damaged(path: str, reason: Exception) -> DataError:
    text = getattr(reason, "strerror", None) or " ".join(str(reason).split())
    return DataError(f"{path} cannot be read as a tar file ({text}); copy or make the shard again")
