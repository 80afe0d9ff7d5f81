"""Which lecture is in which part (`splits.yaml`), and which names lectures may have."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_text

PARTS = ("train", "dev", "test")
TEXT_ONLY = "text"  # without a recording
DECODE = "decode"  # without texts
ALL_PARTS = (*PARTS, TEXT_ONLY, DECODE)
SPLITS = "splits.yaml"
_MAX_BYTES = 200  # of a name; file systems allow 255, and suffixes follow


def check_name(name: str) -> None:
    """Raise DataError if the name of a lecture or utterance cannot be used as a file name."""
    if not name or "/" in name or name.startswith(".") or any(map(_is_unusable, name)):
        raise DataError(
            f"{name!r} cannot name a lecture: names must be plain file names without spaces; rename its files"
        )
    if len(name.encode()) > _MAX_BYTES:
        raise DataError(
            f"{name!r} cannot name a lecture: it has {len(name.encode())} bytes, and file names are limited to "
            f"{_MAX_BYTES} here; rename its files"
        )


def check_lecture_name(name: str) -> None:
    """check_name, and raise DataError if the files of this lecture would be those of another one's translation."""
    check_name(name)
    if name.casefold().endswith(".en"):
        raise DataError(f"{name!r} cannot name a lecture: {name}.txt would be a translation; rename its files")


def _is_unusable(c: str) -> bool:
    """True for spaces, and for characters that are invisible or not Unicode (control, format, half of a pair)."""
    return c.isspace() or unicodedata.category(c) in ("Cc", "Cf", "Cs")


def write_splits(source_dir: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write splits.yaml with all parts, also empty ones."""
    content = {part: list(splits.get(part, [])) for part in ALL_PARTS}
    write_text(source_dir / SPLITS, yaml.dump(content, Dumper=_DUMPER, sort_keys=False))


def read_splits(path: Path) -> dict[str, list[str]]:
    """Read splits.yaml; all parts are in the result, also those that the file leaves out. Names are in NFC.

    Raises:
      DataError: not a mapping of known parts to lists of lectures, a bad name, or a lecture that is listed twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict):
        raise DataError(f"{path} must map {', '.join(ALL_PARTS)} to lists of lectures")
    if unknown := [str(part) for part in content if part not in ALL_PARTS]:
        raise DataError(f"{path}: unknown part {', '.join(unknown)}; the parts are {', '.join(ALL_PARTS)}")
    splits: dict[str, list[str]] = {part: content.get(part) or [] for part in ALL_PARTS}
    for part, lectures in splits.items():
        if not isinstance(lectures, list) or not all(isinstance(x, str) for x in lectures):
            raise DataError(f"{path}: {part} must be a list of lectures, such as [a, b], got {lectures!r}")
        splits[part] = lectures = [unicodedata.normalize("NFC", x) for x in lectures]
        for lecture in lectures:
            check_name(lecture)
    seen: dict[str, str] = {}
    for part, lectures in splits.items():
        for lecture in lectures:
            if lecture in seen:
                where = f"in {seen[lecture]} and in {part}" if seen[lecture] != part else f"in {part} twice"
                raise DataError(f"{path}: lecture {lecture} is {where}; keep it in one part, once")
            seen[lecture] = part
    return splits


if TYPE_CHECKING:
    _BaseLoader = yaml.BaseLoader
else:
    _BaseLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # ten times as fast
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Loader(_BaseLoader):
    """Converts nothing: otherwise the names 10_1 and 01 would become numbers. A key that occurs twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        if repeated := [str(key) for i, key in enumerate(keys) if key in keys[:i]]:
            raise yaml.YAMLError(f"{repeated[0]} appears twice")
        return super().construct_mapping(node, deep)


def default_splits(lectures: Sequence[str]) -> dict[str, list[str]]:
    """Split lectures in order of their names: the last tenth to test, the tenth before it to dev, the rest to train.

    A tenth is at least one lecture; a single lecture goes to train, two go to train and test.
    """
    ordered = sorted(lectures)
    tenth = max(1, round(len(ordered) / 10))
    num_test = tenth if len(ordered) >= 2 else 0
    num_dev = tenth if len(ordered) >= 3 else 0
    num_train = len(ordered) - num_test - num_dev
    return {
        "train": ordered[:num_train],
        "dev": ordered[num_train : num_train + num_dev],
        "test": ordered[num_train + num_dev :],
    }
