"""Finds the files that a manifest names by relative paths, also where it is read in another folder than it was made."""

from __future__ import annotations

import os
from pathlib import Path

from lhotse_prep.workflow.errors import DataError

_MAX_PATHS = 10_000  # that are remembered of one manifest


class PathFinder:
    """Resolves the paths of one manifest.

    A relative path counts from the folder in which the manifest was made, as for Lhotse's own commands. That folder is
    the current one or one above the manifest. A manifest outside the current folder is searched from its own folder
    up first, since the current folder may be another project with files of the same names.
    """

    def __init__(self, manifest: Path) -> None:
        self._manifest, self._here = manifest, Path.cwd()
        above = [*Path(os.path.abspath(manifest)).parents]
        self._bases = [self._here, *above] if self._here in above else [*above, self._here]
        self._places: dict[str, str] = {}
        self._present: set[str] = set()

    def find(self, path: str) -> str:
        """The path as it opens from the current folder; an absolute one, or one that is nowhere, stays as it is."""
        if path not in self._places:
            if len(self._places) == _MAX_PATHS:  # the rows of a recording stand together: old paths do not come again
                self._places.clear()
            self._places[path] = path if os.path.isabs(path) else self._search(path)
        return self._places[path]

    def require(self, path: str, where: str) -> None:
        """Raise DataError unless a path that `find` returned exists; `where` begins the message."""
        if path in self._present:
            return
        if not os.path.exists(path):
            places = "" if os.path.isabs(path) else f" in {self._here} or a folder above {self._manifest}"
            raise DataError(
                f"{where}: no file {path}{places}; run it in the folder where the manifest was made, or make the "
                "manifest again"
            )
        if len(self._present) == _MAX_PATHS:
            self._present.clear()
        self._present.add(path)

    def _search(self, path: str) -> str:
        for base in self._bases:
            if os.path.exists(base / path):
                return path if base == self._here else str(base / path)
        return path


def lasting_path(path: Path, manifest_dir: Path) -> str:
    """How a manifest in manifest_dir is to name a file: as it is given, or absolute if the manifest lies elsewhere."""
    if path.is_absolute() or Path.cwd() in Path(os.path.abspath(manifest_dir)).parents:
        return str(path)
    return os.path.abspath(path)
