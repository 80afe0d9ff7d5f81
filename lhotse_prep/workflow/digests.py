"""SHA-256 of a file, of a folder, of bytes: what stages, checkpoints and cached results are compared by."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, cast

_BLOCK = 1 << 20  # bytes read at a time
_LINES = (".jsonl", ".jsonl.gz")  # manifests and other files of lines, which may have paths in them


def digest_bytes(content: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_json(content: object) -> str:
    """The digest of a value as JSON with sorted keys; values without a JSON form, such as paths, count as their str."""
    return digest_bytes(json.dumps(content, sort_keys=True, default=str).encode())


def digest_parts(parts: Iterable[bytes]) -> str:
    """The digest of all parts joined, without having them in memory together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """The digest of a file's bytes, read in blocks of 1 MiB.

    Raises:
      OSError: the file is missing or cannot be read.
    """
    with open(path, "rb") as f:
        return digest_parts(_blocks(f))


def digest_content(path: Path, root: Path | None = None) -> str:
    """The digest of what a file holds: equal for files that differ only in when, or in which folder, they were made.

    A .gz file is unpacked, since its header has the time. In a file of JSON lines, also a packed one, paths that begin
    with `root` count without it. A damaged .gz file has the digest of its bytes.

    Raises:
      OSError: the file is missing or cannot be read.
    """
    is_packed, has_lines = path.name.endswith(".gz"), root is not None and path.name.endswith(_LINES)
    if not is_packed and not has_lines:
        return digest_file(path)
    try:
        with cast("IO[bytes]", gzip.open(path, "rb") if is_packed else open(path, "rb")) as f:
            return digest_parts(_without_root(f, root) if has_lines and root is not None else _blocks(f))
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return digest_file(path)


def digest_tree(folder: Path, root: Path | None = None) -> dict[str, str]:
    """
    Args:
      folder: its files and those of its subfolders; files whose names start with a dot, such as `.done`, are left out.
      root: see digest_content.
    Returns:
      {path relative to the folder: digest_content}, sorted by path.
    """
    return {str(p.relative_to(folder)): digest_content(p, root) for p in files_of(folder)}


def files_of(folder: Path, patterns: Sequence[str] = ("*",)) -> list[Path]:
    """The files in a folder and its subfolders whose relative path matches a pattern, sorted, without .dotfiles."""
    return sorted(
        p
        for p in folder.rglob("*")
        if not p.name.startswith(".")
        and any(fnmatch(str(p.relative_to(folder)), pattern) for pattern in patterns)
        and p.is_file()
    )


def _without_root(lines: Iterable[bytes], root: Path) -> Iterator[bytes]:
    """Lines of JSON, in which paths in the folder `root`, absolute or relative, begin with what follows it."""
    forms = {str(root), str(root.resolve()), os.path.relpath(root.resolve(), Path.cwd())}
    starts = [b'"' + os.fsencode(form) + b"/" for form in sorted(forms, key=len, reverse=True)]
    for line in lines:
        for start in starts:
            line = line.replace(start, b'"')
        yield line


def _blocks(f: IO[bytes]) -> Iterator[bytes]:
    while block := f.read(_BLOCK):
        yield block
