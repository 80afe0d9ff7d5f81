"""Which lecture is in which part: `splits.yaml`, and names that files can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_text

PARTS = ("train", "dev", "test")

TEXT_ONLY = "text"

DECODE = "decode"

ALL_PARTS = (*PARTS, TEXT_ONLY, DECODE)

SPLITS = "splits.yaml"


def check_name(name: str) -> None:
    """Raise DataError where a lecture or utterance is called what no file can be called."""
    if not name or "/" in name or "\0" in name or name.startswith(".") or any(c.isspace() for c in name):
        raise DataError(
            f"{name!r} cannot name a lecture: it must be a plain file name without spaces; rename its files"
        )


def write_splits(source_dir: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write splits.yaml; every part is there, empty or not."""
    content = {part: list(splits.get(part, [])) for part in ALL_PARTS}
    write_text(source_dir / SPLITS, yaml.safe_dump(content, sort_keys=False))


def read_splits(path: Path) -> dict[str, list[str]]:
    """Read splits.yaml.

    Raises:
      DataError: not a mapping of known parts to lists of lectures, or a lecture in two parts.
    """
    try:
        # this loader leaves text as it is: a lecture called 10_1 or 01 is no number
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as e:
        raise DataError(f"{path} cannot be read: {' '.join(str(e).split())}") from e
    if not isinstance(content, dict) or set(content) - set(ALL_PARTS):
        raise DataError(f"{path} must map {', '.join(ALL_PARTS)} to lists of lectures")
    splits: dict[str, list[str]] = {part: content.get(part) or [] for part in ALL_PARTS}
    for part, lectures in splits.items():
        if not isinstance(lectures, list) or not all(isinstance(x, str) for x in lectures):
            raise DataError(f"{path}: {part} must be a list of lectures, such as [a, b], got {lectures!r}")
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


def default_splits(lectures: Sequence[str]) -> dict[str, list[str]]:
    """Whole lectures to parts: the last tenth (at least one of two) to test, the tenth before (of three) to dev."""
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
