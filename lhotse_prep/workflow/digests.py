"""The one hash of a file, of a folder, of a text: what results are keyed by."""

from __future__ import annotations

import hashlib
from pathlib import Path


def digest_tree(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): digest_file(p) for p in files}


def digest_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
