"""Which lecture is in which part (`splits.yaml`), and which names lectures may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_text

PARTS = ("train", "dev", "test")
TEXT_ONLY = "text"  # without a recording
DECODE = "decode"  # without texts
ALL_PARTS = (*PARTS, TEXT_ONLY, DECODE)
SPLITS = "splits.yaml"


def check_name(name: str) -> None:
    """Raise DataError if the name of a lecture or utterance cannot be used as a file name."""
    if not name or "/" in name or "\0" in name or name.startswith(".") or any(c.isspace() for c in name):
        raise DataError(
            f"{name!r} cannot name a lecture: names must be plain file names without spaces; rename its files"
        )


def write_splits(source_dir: Path, splits: Mapping[str, Sequence[str]]) -> None:
    """Write splits.yaml with all parts, also empty ones."""
    content = {part: list(splits.get(part, [])) for part in ALL_PARTS}
    write_text(source_dir / SPLITS, yaml.safe_dump(content, sort_keys=False))


def read_splits(path: Path) -> dict[str, list[str]]:
    """Read splits.yaml; all parts are in the result, also those that the file leaves out.

    Raises:
      DataError: not a mapping of known parts to lists of lectures, a bad name, or a lecture that is listed twice.
    """
    try:
        # this loader converts nothing: otherwise the lecture names 10_1 and 01 would become numbers
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
