"""Writes manifests reproducibly, and reads them safely: checked row by row, and with their paths found."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import yaml
from lhotse import CutSet, Features, FeatureSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from lhotse.cut.set import deserialize_cut
from lhotse.serialization import decode_json_line

from lhotse_prep.manifests.fields import CUT, FEATURES, RECORDING, SUPERVISION, check_row, kind_of
from lhotse_prep.manifests.paths import PathFinder
from lhotse_prep.manifests.safety import check_nested
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, lone_surrogate, whole_file

_Manifest = TypeVar("_Manifest", RecordingSet, SupervisionSet, FeatureSet, CutSet)
TEXTS = "texts.jsonl"  # of stage 1: lectures without recordings, with translations; it is always there
UNTRANSLATED = "untranslated.jsonl"  # the same without translations; missing if there are none
CONFIDENCE = "confidence.jsonl"  # of stage 3; it is always there
SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".yaml", ".yaml.gz")  # as Lhotse writes
AUDIO, FEATS = "audio", "features"  # which files of a manifest must exist
_KINDS = {RecordingSet: RECORDING, SupervisionSet: SUPERVISION, FeatureSet: FEATURES, CutSet: CUT}
_READERS = {
    RECORDING: Recording.from_dict,
    SUPERVISION: SupervisionSegment.from_dict,
    FEATURES: Features.from_dict,
    CUT: deserialize_cut,
}
_UNREADABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def write_manifest(path: Path, items: Iterable[Any]) -> int:
    """Write Lhotse objects, one JSON object per line, gzipped; the same objects always give the same bytes.

    No file is written for no items, and one that is there is removed: Lhotse cannot read an empty manifest.

    Returns:
      The number of items, which are written as they come.
    """
    rows = (json.dumps(item.to_dict(), ensure_ascii=False) + "\n" for item in items)
    first = next(rows, None)
    if first is None:
        path.unlink(missing_ok=True)
        return 0
    num_items = 0
    with whole_file(path, "wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as f:
        for row in chain([first], rows):
            f.write(row.encode())
            num_items += 1
    return num_items


def load_safely(path: Path, cls: type[_Manifest], needs: str | None = None) -> _Manifest:
    """Load a manifest that may come from an untrusted source; relative paths in it are found (see PathFinder).

    Args:
      path: one of SUFFIXES; an empty file is an empty manifest.
      cls: what the file must hold.
      needs: AUDIO or FEATS, if those files must exist.
    Raises:
      DataError: the file is missing or damaged, a field is missing or of the wrong type, a file that `needs` names is
        missing, or the manifest contains something that Lhotse would execute, fetch or unpickle.
    """
    return cls.from_items(read_items(path, _KINDS[cls], needs))


def load_part(folder: Path, name: str, part: str, cls: type[_Manifest], needs: str | None = None) -> _Manifest:
    """Load FOLDER/ml2021_NAME_PART.jsonl.gz as load_safely does; empty if there is no such file.

    Raises:
      DataError: also if the folder has neither this file nor that of another part, and no stage has written it.
    """
    path = part_file(folder, name, part)
    if path.is_file() or not is_empty_part(folder, name):
        return load_safely(path, cls, needs)
    return cls.from_items([])


def open_part(folder: Path, name: str, part: str, cls: type[_Manifest], needs: str | None = None) -> _Manifest:
    """Open what load_part loads, lazily: the file is read again in each iteration, one row at a time.

    Raises:
      DataError: all of load_part's errors are raised in iteration, but that of a folder without such files.
    """
    path = part_file(folder, name, part)
    if path.is_file() or not is_empty_part(folder, name):
        _require_manifest(path)
        return cls(_LazyItems(path, _KINDS[cls], needs))
    return cls.from_items([])


def part_file(folder: Path, name: str, part: str) -> Path:
    """The manifest of a part, such as ml2021_cuts_train.jsonl.gz."""
    return folder / f"ml2021_{name}_{part}.jsonl.gz"


def is_empty_part(folder: Path, name: str) -> bool:
    """True if a part without a file is empty in this folder, as others are there, or a stage has written it."""
    return any(folder.glob(f"ml2021_{name}_*.jsonl.gz")) or any((folder / x).is_file() for x in (TEXTS, CONFIDENCE))


def open_cuts(path: Path, needs: str | None = None) -> CutSet:
    """Open a manifest of cuts lazily: each is checked as load_safely does when it is reached.

    Raises:
      DataError: there is no such file; all else is raised in iteration.
    """
    _require_manifest(path)
    return CutSet(_LazyItems(path, CUT, needs))


def read_items(path: Path, kind: str | None = None, needs: str | None = None) -> Iterator[Any]:
    """The objects of a manifest one after the other, checked as load_safely does.

    Args:
      kind: RECORDING, SUPERVISION, FEATURES or CUT; None: whatever each row is.
    """
    _require_manifest(path)
    finder = PathFinder(path)
    for where, row in read_rows(path):
        actual_kind = kind_of(row)
        row_kind = kind or actual_kind
        if row_kind is None:
            raise DataError(f"{where}: it is neither a recording, a supervision, a cut nor features")
        if actual_kind not in (row_kind, None):
            raise DataError(f"{where}: it is a {actual_kind}, not a {row_kind}; is it the right file?")
        check_row(row, row_kind, where)
        check_nested(row, where, finder.find)
        name = row.get("id", row.get("recording_id"))
        if needs is not None:
            for file in _files(row, needs):
                finder.require(file, f"{row_kind} {name}")
        try:
            item = _READERS[row_kind](row)
        except _UNREADABLE as e:
            reason = " ".join(str(e).split())
            raise DataError(f"{where}: Lhotse cannot read it ({type(e).__name__}: {reason}); make it again") from e
        yield item


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(file and line or number, row) of a manifest in one of SUFFIXES.

    Raises:
      DataError: it is damaged, not of that format, or has half a character.
    """
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        yield from _lines(path)
        return
    is_yaml = path.name.removesuffix(".gz").endswith(".yaml")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as f:
            content = f.read()
        rows: Any = (_yaml(content) if is_yaml else json.loads(content or "[]")) or []
    except (OSError, EOFError, ValueError, RecursionError, zlib.error, yaml.YAMLError) as e:
        reason = " ".join(str(e).split())
        raise DataError(f"{path} is damaged or not {'YAML' if is_yaml else 'JSON'} ({reason}); make it again") from e
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of objects; a manifest of Lhotse is one")
    for number, row in enumerate(rows, 1):
        where = f"{path}, entry {number}"
        check_nested(row, where)  # bounds the depth of what follows
        _require_whole_characters(row, where)
        yield where, row


def text_only_transcripts(manifests: Path) -> Iterator[str]:
    """Transcripts of the lectures without recordings in stage 1's folder, translated and untranslated."""
    paths = [manifests / TEXTS, *(p for p in [manifests / UNTRANSLATED] if p.is_file())]
    return (row["text"] for path in paths for row in iterate_texts(path))


def read_texts(path: Path) -> list[dict[str, str]]:
    """All that iterate_texts yields."""
    return list(iterate_texts(path))


def iterate_texts(path: Path) -> Iterator[dict[str, str]]:
    """The rows of TEXTS or UNTRANSLATED one by one: "id", "text" and maybe "translation".

    Raises:
      DataError: there is no such file, or a row has something else in it.
    """
    for number, row in enumerate(iterate_jsonl(path), 1):
        if not all(
            isinstance(row.get(x, x if x == "translation" else None), str) for x in ("id", "text", "translation")
        ):
            raise DataError(f'{path}, line {number}: expected "id", "text" and "translation", each a text')
        yield row


class _LazyItems:
    """Iterates over the objects of a manifest, reading the file each time; for CutSet."""

    def __init__(self, path: Path, kind: str, needs: str | None) -> None:
        self.path, self.kind, self.needs = path, kind, needs

    def __iter__(self) -> Iterator[Any]:
        return read_items(self.path, self.kind, self.needs)

    def __len__(self) -> int:
        return sum(1 for _ in read_rows(self.path))


def _require_manifest(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"no {path}: stage 1 or 3 makes it; give its folder")
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: manifests are read as {', '.join(SUFFIXES)} only; convert it with `lhotse copy`")


def _yaml(content: str) -> Any:
    """The content of a YAML file; raises yaml.YAMLError also for aliases, which make a small file endless."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, loader)):
        raise yaml.YAMLError("it has aliases; write it as .jsonl.gz")
    return yaml.load(content, loader)


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as f:
            for number, line in enumerate(f, 1):
                where = f"{path}, line {number}"
                row = decode_json_line(line.decode("utf-8"))
                if b"\\u" in line:
                    check_nested(row, where)
                    _require_whole_characters(row, where)
                yield where, row
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as e:
        reason = " ".join(str(e).split())
        raise DataError(
            f"{path} is damaged or not JSON lines (after line {max(0, number - 1)}: {reason}); make it again"
        ) from e


def _require_whole_characters(row: Any, where: str) -> None:
    if surrogate := lone_surrogate(json.dumps(row, ensure_ascii=False, default=str)):
        raise DataError(f"{where}: {surrogate} is half of a character (a lone surrogate); correct the text")


def _files(row: dict[str, Any], needs: str) -> Iterator[str]:
    """The files with the audio or the features of a row and of the tracks in it."""
    left = [row]
    while left:
        item = left.pop()
        left += [track["cut"] for track in item.get("tracks", [])]
        if needs == AUDIO:
            recording = item.get("recording") or item
            yield from (source["source"] for source in recording.get("sources", []))
        elif path := (item.get("features") or item).get("storage_path"):
            yield path
