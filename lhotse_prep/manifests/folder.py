"""The manifests in a folder, whoever wrote them: which file is of which kind and part."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lhotse_prep.manifests.fields import CUT, FEATURES, RECORDING, SUPERVISION, kind_of
from lhotse_prep.manifests.files import SUFFIXES, read_items, read_rows
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)
_NAMES = {
    **dict.fromkeys(("recordings", "recording"), RECORDING),
    **dict.fromkeys(("supervisions", "supervision", "segments"), SUPERVISION),
    **dict.fromkeys(("cuts", "cut"), CUT),
    **dict.fromkeys(("features", "feats"), FEATURES),
}
_SHARD = re.compile(r"\.\d{6}\.")  # of Lhotse Shar, whose cuts have their data in tar files
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class ManifestFile:
    """A manifest."""

    path: Path
    kind: str  # RECORDING, SUPERVISION, FEATURES or CUT
    part: str  # train, dev, test, or what else its name says

    @property
    def are_segments(self) -> bool:
        """Whether it holds the utterances of lectures, beside the supervisions of the lectures."""
        return "segments" in _WORDS.findall(self.path.name)


@dataclass(frozen=True)
class Content:
    """A manifest; iteration reads its objects in order, one at a time, checked as load_safely does."""

    file: ManifestFile

    def __iter__(self) -> Iterator[Any]:
        return read_items(self.file.path, self.file.kind)


def open_folder(path: Path) -> list[Content]:
    """All manifests of a folder, or one file; other files are named in the log.

    Raises:
      DataError: there is none; in iteration, one is damaged or unsafe.
    """
    if not path.exists():
        raise DataError(f"no folder or manifest {path}")
    files, others = [], []
    for file in sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]:
        if not file.name.endswith(SUFFIXES) or file.name.startswith("."):
            continue
        kind = None if _SHARD.search(file.name) else _kind(file, path.is_dir())
        if kind is not None:
            files.append((file, kind))
        else:
            others.append(file.name)
    if others:
        logger.info("%s: not read, since they are no manifests, or shards of Shar: %s", path, ", ".join(others))
    if not files:
        raise DataError(f"no manifest in {path}: stage 1 or 3 makes them; give their folder")
    corpora = {_name_parts(file.name)[0] for file, _ in files}
    contents = []
    for file, kind in files:
        corpus, part = _name_parts(file.name)
        part = part or corpus if len(corpora) == 1 else "_".join(filter(None, (corpus, part)))
        part = part or "all"
        contents.append(Content(ManifestFile(file, kind, part)))
    return contents


def _kind(path: Path, may_be_other: bool) -> str | None:
    """The kind of a manifest by its name, as an empty one has no rows, or by its first row; None: no manifest.

    Args:
      may_be_other: a file of another form is no error.
    """
    for word in _WORDS.findall(path.name):
        if word in _NAMES:
            return _NAMES[word]
    try:
        return next((kind_of(row) for _, row in read_rows(path)), None)
    except DataError:
        if may_be_other:
            return None
        raise


def _name_parts(name: str) -> tuple[str, str]:
    """What comes before and after the kind in a manifest's name: ml2021 and train of ml2021_cuts_train.jsonl.gz."""
    stem = name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        stem = stem.removesuffix(suffix)
    word = next((w for w in _WORDS.finditer(stem) if w.group() in _NAMES), None)
    if word is None:
        return stem, ""
    return stem[: word.start()].strip("_-."), stem[word.end() :].strip("_-.")
