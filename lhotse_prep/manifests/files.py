"""Writes manifests reproducibly, and refuses to read manifests that could run code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lhotse import RecordingSet, SupervisionSet, load_manifest
from lhotse.cut import Cut

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, whole_file

_Manifest = TypeVar("_Manifest", RecordingSet, SupervisionSet)
TEXTS = "texts.jsonl"  # of stage 1: lectures without recordings, with translations
UNTRANSLATED = "untranslated.jsonl"  # the same without translations; missing if there are none
# Lhotse would run a `command`, fetch a `url`, and unpickle features that are stored in the manifest itself.
_SAFE_SOURCES = ("file",)
_SAFE_STORAGE = ("lilcom_chunky", "lilcom_files", "lilcom_hdf5", "chunked_lilcom_hdf5", "numpy_files", "numpy_hdf5")


def write_manifest(path: Path, items: Iterable[Any]) -> None:
    """Write Lhotse objects, one JSON object per line, gzipped; the same objects always give the same bytes."""
    with whole_file(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as f:
        for item in items:
            f.write((json.dumps(item.to_dict(), ensure_ascii=False) + "\n").encode())


def load_safely(path: Path, cls: type[_Manifest]) -> _Manifest:
    """Load a manifest that may come from an untrusted source.

    Raises:
      DataError: the file is missing or not JSON lines, or contains something that Lhotse would execute, fetch or
        unpickle.
    """
    if not path.is_file():
        raise DataError(f"no {path}: stage 1 or 3 makes it; give its folder")
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(f"{path}: manifests are read as .jsonl or .jsonl.gz only; convert it with `lhotse copy`")
    for number, row in enumerate(_rows(path), 1):
        _check(row, f"{path}, line {number}", str(row.get("id", "?")) if isinstance(row, dict) else "?")
    return load_manifest(path, cls)


def text_only_transcripts(manifests: Path) -> list[str]:
    """Transcripts of the lectures without recordings in stage 1's folder, translated and untranslated."""
    paths = [manifests / TEXTS, *(p for p in [manifests / UNTRANSLATED] if p.is_file())]
    return [row["text"] for path in paths for row in read_jsonl(path)]


def check_cut(cut: Cut) -> Cut:
    """Return the cut; raises DataError if Lhotse would execute, fetch or unpickle something to read its data."""
    for track in getattr(cut, "tracks", []):
        check_cut(track.cut)
    custom = getattr(cut, "custom", None) or {}
    for manifest in (getattr(cut, "recording", None), getattr(cut, "features", None), *custom.values()):
        for source in getattr(manifest, "sources", []):
            check_source(source.type, source.source, f"cut {cut.id}")
        array = getattr(manifest, "array", manifest)  # inside a TemporalArray
        if (storage := getattr(array, "storage_type", None)) is not None:
            _check_storage(storage, array.storage_path, f"cut {cut.id}")
    return cut


def check_source(kind: str, source: Any, where: str) -> None:
    """Raise DataError for an audio source that is not a plain file; `where` begins the message."""
    if kind not in _SAFE_SOURCES or str(source).startswith("pipe:"):
        raise DataError(
            f"{where}: its audio source is of type {'pipe' if str(source).startswith('pipe:') else kind!r}; only files "
            "are read here, since a command in a manifest would be executed"
        )


def _check_storage(kind: str, path: object, where: str) -> None:
    if kind not in _SAFE_STORAGE or str(path).startswith("pipe:"):
        raise DataError(
            f"{where}: features of storage type {kind!r} at {path!s:.80} are not read here, since they can hold "
            "pickled code or be a command; compute them again"
        )


def _rows(path: Path) -> Iterator[Any]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as f:
            for line in f:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as e:
        raise DataError(f"{path} is damaged or not JSON lines ({e}); make it again") from e


def _check(value: Any, where: str, name: str) -> None:
    if isinstance(value, list):
        for item in value:
            _check(item, where, name)
    if not isinstance(value, dict):
        if isinstance(value, str) and value.startswith("pipe:"):
            check_source("file", value, f"{where}, recording {name}")
        return
    if "source" in value and "type" in value:
        check_source(str(value["type"]), value["source"], f"{where}, recording {name}")
    storage = value.get("storage_type")
    if storage is not None:
        _check_storage(storage, value.get("storage_path"), f"{where}, {name}")
    for item in value.values():
        _check(item, where, name)
