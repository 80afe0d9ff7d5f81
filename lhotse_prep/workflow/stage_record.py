"""What a stage's results were made from: the options and the content of the inputs, as `.key` and `.done` record them.

Two records are compared value by value, so that a stage can say what has changed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.digests import digest_bytes, digest_content, digest_file, digest_json, files_of
from lhotse_prep.workflow.errors import DataError

DONE = ".done"
NO_RESULTS = ("log/*", "*/log/*", "tensorboard/*", "*/tensorboard/*", "bad-batches/*", "*/bad-batches/*", "*.sha256")
_LARGE = 10**9  # bytes
_SETTLED = 2 * 10**9  # ns: a file written this long before it was read is read again only if its size or time changes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """A file or folder that a stage reads."""

    path: Path
    made_by: int | None = None  # number of the stage that writes it; None: the project or the user
    files: tuple[str, ...] = ("*",)  # patterns of the paths of those files of a folder that the stage reads
    is_new: bool = False  # whether version 0.2 did not regard it
    by_size: tuple[str, ...] = ()  # patterns of a user's files that count by their size, since reading them takes long


@dataclass(frozen=True)
class InputRecord:
    """The content of an input: the digest of each file that is read. Where the input lay does not count."""

    path: str
    name: str  # of a stage's folder; the ending of a user's file or folder
    files: dict[str, str]
    stats: dict[str, list[int]] = field(default_factory=dict)  # [bytes, time in ns] of the user's files


@dataclass(frozen=True)
class Record:
    """Options, and content of the inputs."""

    stage: str
    options: dict[str, Any]
    inputs: list[InputRecord]

    @property
    def key(self) -> str:
        """A hash of all that counts."""
        return digest_json([self.stage, self.options, [[i.name, i.files] for i in self.inputs]])

    def content(self) -> dict[str, Any]:
        """The record as JSON; read_record reads it."""
        return {"key": self.key, **asdict(self)}


@dataclass(frozen=True)
class Change:
    """An option or an input that is not what it was."""

    name: str
    text: str


def read_record(content: Mapping[str, Any]) -> Record | None:
    """The record in the content of `.key` or `.done`; None if there is none, as in those of version 0.2."""
    try:
        inputs = [InputRecord(i["path"], i["name"], dict(i["files"]), dict(i["stats"])) for i in content["inputs"]]
        return Record(content["stage"], dict(content["options"]), inputs)
    except (KeyError, TypeError, ValueError):
        return None


def changes(old: Record, new: Record, defaults: Mapping[str, Any]) -> list[Change]:
    """What differs between two records, options first.

    An option that the old record does not have, since it is newer than the record, counts as having had its default.
    """
    different = []
    for name, value in new.options.items():
        before = old.options.get(name, defaults.get(name))
        if before != value:
            different.append(Change(name, f"{name} was {_shown(before)} and is {_shown(value)}"))
    for i in range(max(len(old.inputs), len(new.inputs))):
        before_input, now = (x.inputs[i] if i < len(x.inputs) else None for x in (old, new))
        if now is None:
            assert before_input is not None
            different.append(Change("inputs", f"{before_input.path} was read and is not now"))
        elif before_input is None:
            different.append(Change("inputs", f"{now.path} is read and was not"))
        elif (before_input.name, before_input.files) != (now.name, now.files):
            different.append(Change("inputs", _input_change(before_input, now)))
    return different


def input_at(path: Path, files: tuple[str, ...] = ("*",)) -> Input:
    """An input that a user names by its path: of a stage, if it is a finished stage's folder or in one."""
    for folder in list(path.absolute().parents)[:3] if path.is_file() else [path.absolute()]:
        done = read_done(folder)
        name = str(path.absolute().relative_to(folder))
        if done is not None and (path.is_dir() or name in done["outputs"]):
            return Input(folder, 0, files if path.is_dir() else (name,))
    return Input(path, None, files)


def record_input(item: Input, before: InputRecord | None) -> InputRecord:
    """The digests of an input's files: for a stage's folder, of its outputs only.

    Args:
      item: the input.
      before: the record of this input in an earlier run, if there is one; files of the same size and time as then are
        not read again.
    Raises:
      DataError: the input is missing or unfinished; the message names the stage that makes it.
    """
    path = item.path
    if item.made_by is not None and path.is_dir():
        done = read_done(path)
        if done is not None:
            return InputRecord(str(path), path.name, _outputs(path, done, item.files))
    elif item.made_by is None and path.exists():
        return _record_of_users(item, before)
    elif path.is_file():
        return InputRecord(str(path), path.name, {"": digest_content(path)})
    if item.made_by is None:
        raise DataError(f"no such file or folder: {path}")
    raise DataError(
        f"{path} is missing or unfinished: stage {item.made_by} makes it; "
        f"run ./run.sh --stage {item.made_by} --stop-stage {item.made_by} with the same --corpus first"
    )


def old_key(name: str, options: Mapping[str, Any], inputs: Sequence[Input]) -> str:
    """The key as version 0.2 computed it: of all options, and of the bytes of all files of the inputs."""
    digests = "".join(f"\n{item.path.name}:{_old_digest(item.path)}" for item in inputs if not item.is_new)
    return digest_bytes(f"{name}{json.dumps(options, sort_keys=True, default=str)}{digests}".encode())


def read_done(out_dir: Path) -> dict[str, Any] | None:
    """The content of `.done` in a stage's folder, or None if it is missing or damaged."""
    try:
        content = json.loads((out_dir / DONE).read_text())
        is_whole = isinstance(content["seconds"], (int, float)) and isinstance(content["outputs"], dict)
        return content if is_whole and "key" in content else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _record_of_users(item: Input, before: InputRecord | None) -> InputRecord:
    files = {"": item.path}
    if item.path.is_dir():
        files = {str(p.relative_to(item.path)): p for p in files_of(item.path, item.files)}
    digests, stats = {}, {}
    size = sum(path.stat().st_size for name, path in files.items() if not _matches(name, item.by_size))
    if size > _LARGE and before is None:
        logger.info("%s: reading its %.1f GB, so that later runs see whether it has changed", item.path, size / 1e9)
    for name, path in files.items():
        if _matches(name, NO_RESULTS):
            continue
        stat = path.stat()
        if _matches(name, item.by_size):
            digests[name] = f"{stat.st_size} bytes"
            continue
        if time.time_ns() - stat.st_mtime_ns > _SETTLED:
            stats[name] = [stat.st_size, stat.st_mtime_ns]
        is_same = before is not None and name in stats and before.stats.get(name) == stats[name]
        digests[name] = before.files[name] if before is not None and is_same else digest_content(path)
    return InputRecord(str(item.path), "" if item.path.is_dir() else item.path.suffix, digests, stats)


def _outputs(folder: Path, done: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, str]:
    """Those outputs of a stage that match a pattern, or all if none does; with digests of their content."""
    outputs = {name: digest for name, digest in done["outputs"].items() if not _matches(name, NO_RESULTS)}
    read = {name: digest for name, digest in outputs.items() if _matches(name, patterns)} or outputs
    return read if read_record(done) is not None else content_digests(folder, read)


def content_digests(folder: Path, outputs: Mapping[str, str]) -> dict[str, str]:
    """The digests of content of a stage's outputs, of which version 0.2 recorded digests of bytes."""
    files = {name: folder / name for name in outputs if name.endswith((".gz", ".jsonl"))}
    return {**outputs, **{n: digest_content(path, folder.parent) for n, path in files.items() if path.is_file()}}


def _old_digest(path: Path) -> str:
    """What version 0.2 recorded of an input."""
    done = read_done(path)
    if path.is_file():
        return digest_file(path)
    if done is None:
        return json.dumps({str(p.relative_to(path)): digest_file(p) for p in files_of(path)}, sort_keys=True)
    outputs: dict[str, str] = dict(done["outputs"])
    if read_record(done) is not None:
        lines = [name for name in outputs if name.endswith((".gz", ".jsonl")) and (path / name).is_file()]
        outputs |= {name: digest_file(path / name) for name in lines}
    return json.dumps(outputs, sort_keys=True)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _input_change(before: InputRecord, now: InputRecord) -> str:
    names = [n for n in {**before.files, **now.files} if before.files.get(n) != now.files.get(n)]
    if not names or names == [""]:
        return f"{now.path} has other content"
    more = f" and {len(names) - 1} more" if names[1:] else ""
    return f"{now.path} has other content ({names[0]}{more})"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."
