"""Refuses what Lhotse would execute, fetch or unpickle to read the data of a manifest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lhotse import Recording
from lhotse.cut import Cut

from lhotse_prep.workflow.errors import DataError

# Lhotse would run a `command`, fetch a `url`, and unpickle features that are stored in the manifest itself.
_SAFE_SOURCES = ("file",)
_SAFE_STORAGE = ("lilcom_chunky", "lilcom_files", "lilcom_hdf5", "chunked_lilcom_hdf5", "numpy_files", "numpy_hdf5")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_MAX_DEPTH = 60  # of objects in objects; a mixed cut has about ten


def check_nested(row: Any, where: str, find: Callable[[str], str] = str) -> None:
    """Raise DataError for anything unsafe in a row of JSON or YAML, however deep; paths are replaced by find(path).

    Args:
      row: an object of the file.
      where: file and line, at the beginning of messages.
      find: where a path leads to.
    """
    left = [(row, 0)]
    while left:
        value, depth = left.pop()
        if depth > _MAX_DEPTH:
            raise DataError(f"{where}: objects are nested more than {_MAX_DEPTH} deep; make the manifest again")
        if isinstance(value, list):
            left += [(item, depth + 1) for item in value if isinstance(item, (dict, list))]
        if not isinstance(value, dict):
            continue
        sources = value.get("sources")
        for source in sources if isinstance(sources, list) else []:
            if isinstance(source, dict) and "source" in source:
                check_source(str(source.get("type")), source["source"], f"{where}, recording {value.get('id', '?')}")
                source["source"] = find(str(source["source"]))
        if value.get("storage_type") is not None:
            path = value.get("storage_path")
            check_storage(str(value["storage_type"]), path, value.get("storage_key"), where)
            if path is not None:
                value["storage_path"] = find(str(path))
        skipped = "alignment" if "recording_id" in value else None  # the words of a supervision: texts and numbers
        left += [(x, depth + 1) for name, x in value.items() if isinstance(x, (dict, list)) and name != skipped]


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
            check_storage(storage, array.storage_path, array.storage_key, f"cut {cut.id}")
    return cut


def check_source(kind: str, source: Any, where: str) -> None:
    """Raise DataError for an audio source that is not a plain file; `where` begins the message."""
    if kind not in _SAFE_SOURCES or not _is_plain(source):
        kind = kind if kind not in _SAFE_SOURCES else _opened_as(source)
        raise DataError(
            f"{where}: its audio source is of type {kind!r}; only files are read here, since a command in a manifest "
            "would be executed"
        )


def check_storage(kind: str, path: object, key: object, where: str) -> None:
    """Raise DataError for features or arrays that are not in plain files; `where` begins the message."""
    if kind not in _SAFE_STORAGE or not _is_plain(path) or not _is_plain(key):
        raise DataError(
            f"{where}: features of storage type {kind!r} at {path!s:.80} are not read here, since they can hold "
            "pickled code or be a command; compute them again"
        )


def plain_audio(recording: Recording) -> Path:
    """The file of a recording that is the whole content of one mono file.

    Raises:
      DataError: it has several sources or channels, or transforms, so the file alone is not the recording.
    """
    if (what := what_is_not_plain(recording)) is not None:
        raise DataError(
            f"recording {recording.id} has {what}; this needs one file with one channel as it is: save its audio "
            "(Recording.load_audio) to such a file and make its manifest again"
        )
    source = recording.sources[0]
    check_source(source.type, source.source, f"recording {recording.id}")
    return Path(source.source)


def what_is_not_plain(recording: Recording) -> str | None:
    """What a recording has beside one file with one channel; None if it is just that."""
    if recording.transforms:
        return "transforms"
    if len(recording.sources) == 1 and len(recording.sources[0].channels) == 1:
        return None
    return f"{recording.num_channels} channels in {len(recording.sources)} files"


def _is_plain(path: object) -> bool:
    text = str(path)
    return not text.startswith("pipe:") and text != "-" and _URL.match(text) is None


def _opened_as(source: object) -> str:
    """What Lhotse takes a source for that is not the name of a file."""
    text = str(source)
    return "pipe" if text.startswith("pipe:") else "standard input" if text == "-" else "url"
