"""SHA-256 of a file, of a folder, of bytes: what stages, checkpoints and cached results are compared by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

_BLOCK = 1 << 20  # bytes read at a time


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
    """The digest of a file's content, read in blocks of 1 MiB.

    Raises:
      OSError: the file is missing or cannot be read.
    """
    return digest_parts(_blocks(path))


def digest_tree(folder: Path) -> dict[str, str]:
    """
    Returns:
      {path relative to the folder: digest} of all files in the folder and its subfolders, sorted by path. Files whose
      names start with a dot, such as `.done`, are left out.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): digest_file(p) for p in files}


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as f:
        while block := f.read(_BLOCK):
            yield block
