"""Writes manifests reproducibly, and refuses to read manifests that could run code."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lhotse import RecordingSet, SupervisionSet, load_manifest
from lhotse.cut import Cut

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import lone_surrogate, read_jsonl, whole_file

_Manifest = TypeVar("_Manifest", RecordingSet, SupervisionSet)
TEXTS = "texts.jsonl"  # of stage 1: lectures without recordings, with translations
UNTRANSLATED = "untranslated.jsonl"  # the same without translations; missing if there are none
# Lhotse would run a `command`, fetch a `url`, and unpickle features that are stored in the manifest itself.
_SAFE_SOURCES = ("file",)
_NUMBER, _WHOLE, _TEXT = ((int, float), "a number"), ((int,), "a whole number"), ((str,), "a text")
_LIST, _OBJECT = ((list,), "a list"), ((dict,), "an object")
_TIMES = {"start": _NUMBER, "duration": _NUMBER}
_Field = tuple[tuple[type, ...], str]  # the types that a field may have, and their name in messages
_REQUIRED: dict[type, dict[str, _Field]] = {
    RecordingSet: {"id": _TEXT, "sources": _LIST, "sampling_rate": _WHOLE, "num_samples": _WHOLE, "duration": _NUMBER},
    SupervisionSet: {"id": _TEXT, "recording_id": _TEXT, **_TIMES},
}
_OPTIONAL: dict[type, dict[str, _Field]] = {
    RecordingSet: {"channel_ids": _LIST, "transforms": _LIST},
    SupervisionSet: {
        "channel": ((int, list), "a channel or a list of channels"),
        "text": _TEXT,
        "language": _TEXT,
        "speaker": _TEXT,
        "gender": _TEXT,
        "custom": _OBJECT,
        "alignment": _OBJECT,
    },
}
_SOURCE: dict[str, _Field] = {"type": _TEXT, "channels": _LIST, "source": _TEXT}
_SAFE_STORAGE = ("lilcom_chunky", "lilcom_files", "lilcom_hdf5", "chunked_lilcom_hdf5", "numpy_files", "numpy_hdf5")


def write_manifest(path: Path, items: Iterable[Any]) -> None:
    """Write Lhotse objects, one JSON object per line, gzipped; the same objects always give the same bytes."""
    with whole_file(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as f:
        for item in items:
            f.write((json.dumps(item.to_dict(), ensure_ascii=False) + "\n").encode())


def load_safely(path: Path, cls: type[_Manifest]) -> _Manifest:
    """Load a manifest that may come from an untrusted source.

    Raises:
      DataError: the file is missing or not JSON lines, a field is missing or of the wrong type, or the file contains
        something that Lhotse would execute, fetch or unpickle.
    """
    if not path.is_file():
        raise DataError(f"no {path}: stage 1 or 3 makes it; give its folder")
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(f"{path}: manifests are read as .jsonl or .jsonl.gz only; convert it with `lhotse copy`")
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}, line {number}"
        _check(row, where, str(row.get("id", "?")) if isinstance(row, dict) else "?")
        _check_types(row, cls, where)
    try:
        return load_manifest(path, cls)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as e:
        raise DataError(f"{path}: Lhotse cannot read it ({type(e).__name__}: {e}); make it again") from e


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
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as e:
        raise DataError(f"{path} is damaged or not JSON lines ({e}); make it again") from e


def _check_types(row: Any, cls: type, where: str) -> None:
    """Raise DataError unless a row has all fields of a recording or supervision, each of its type."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, and it is {json.dumps(row)[:40]}")
    _check_fields(row, _REQUIRED[cls], where)
    _check_fields({k: v for k, v in row.items() if v is not None}, _OPTIONAL[cls], where, required=False)
    for source in row.get("sources", []):
        if not isinstance(source, dict):
            raise DataError(f'{where}: each of "sources" must be an object, and one is {json.dumps(source)[:40]}')
        _check_fields(source, _SOURCE, where)
    if surrogate := lone_surrogate(json.dumps(row, ensure_ascii=False)):
        raise DataError(f"{where}: {surrogate} is half of a character (a lone surrogate); correct the text")


def _check_fields(row: dict[str, Any], fields: dict[str, _Field], where: str, required: bool = True) -> None:
    for name, (types, expected) in fields.items():
        if name not in row:
            if required:
                raise DataError(f'{where}: no "{name}"; make the manifest again')
            continue
        value = row[name]
        if not isinstance(value, types) or isinstance(value, bool):
            raise DataError(f'{where}: "{name}" must be {expected}, and is {json.dumps(value)[:40]}')
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(f'{where}: "{name}" must be finite, and is {value}')


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
