"""Files that are written completely or not at all; text, JSON and JSON lines, with errors that name the line."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.locks import folder_lock

MARK = ".written"  # in a folder of whole_folder: the files that it was written with, as JSON
_CLUTTER = (".DS_Store", "._*", ".nfs*", ".directory", "Thumbs.db", "desktop.ini", "__MACOSX")
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


@contextlib.contextmanager
def whole_folder(out_dir: Path) -> Iterator[Path]:
    """Yield a temporary folder; if the block ends without an exception, it becomes out_dir, and the old one is removed.

    At any time, also after a kill, out_dir is either the old folder as it was or the new one.

    Raises:
      DataError: out_dir is a file or the current folder, or holds files that whole_folder did not write; another
        process is writing it.
    """
    place = out_dir.resolve()
    with folder_lock(place):
        work_dir, old = (place.with_name(f".{place.name}.{end}") for end in ("tmp", "old"))
        if old.exists() and not place.exists():  # killed between two renames
            old.rename(place)
        _require_written(place, out_dir)
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True)
        try:
            yield work_dir
            _require_written(place, out_dir)
        except BaseException:
            shutil.rmtree(work_dir, ignore_errors=True)
            raise
        files = sorted(str(p.relative_to(work_dir)) for p in work_dir.rglob("*") if not p.is_dir())
        write_json(work_dir / MARK, files)
        put_in_place(work_dir, place)


def put_in_place(new: Path, place: Path) -> None:
    """Rename a folder to `place`, beside it, and remove the folder that was there; at once where the system can."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if not place.exists():
        new.rename(place)
    elif _exchange(new, place):
        new.rename(old)
    else:
        place.rename(old)
        new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def is_clutter(name: str) -> bool:
    """True for files that file managers and operating systems leave behind, such as .DS_Store and ._lecture.wav."""
    return any(fnmatch(name, pattern) for pattern in _CLUTTER)


def unwritten_files(folder: Path) -> list[str]:
    """The files in a folder that whole_folder did not write there, without what file managers leave behind."""
    try:
        written = set(json.loads((folder / MARK).read_text(encoding="utf-8"))) | {MARK}
    except (OSError, ValueError, TypeError):
        written = set()
    files = (p.relative_to(folder) for p in sorted(folder.rglob("*")) if not p.is_dir() or p.is_symlink())
    return [str(p) for p in files if str(p) not in written and not any(map(is_clutter, p.parts))]


def _exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two folders in one step; False if the system cannot do it."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    return rename is not None and not rename(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )


def _require_written(place: Path, out_dir: Path) -> None:
    """Raise DataError if a folder, which need not exist, holds a file that whole_folder did not write."""
    if not place.exists():
        return
    if not place.is_dir():
        raise DataError(f"{out_dir} is a file; name a folder to write to")
    if place == Path.cwd():
        raise DataError(f"{out_dir} is the current folder, which would be replaced; name another one")
    if others := unwritten_files(place):
        raise DataError(
            f"{out_dir} holds {len(others)} files that would be lost, since they were not written here "
            f"({', '.join(others[:3])}); name another folder, or move them away"
        )


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that gets its name only after it is complete and synced to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as f:
            yield f
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_text(path: Path) -> str | None:
    """The content of a text file, or None if it does not exist; raises DataError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as e:
        line = e.object.count(b"\n", 0, e.start) + 1
        raise DataError(f"{path} is not UTF-8 (byte {e.start}, in line {line}); convert it") from e


def write_text(path: Path, text: str) -> None:
    """Write a small text file by whole_file."""
    with whole_file(path) as f:
        f.write(text)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file by whole_file, indented, with non-ASCII characters unescaped."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line by whole_file, each as it comes."""
    with whole_file(path) as f:
        f.writelines(json_line(row) for row in rows)


def json_line(row: Mapping[str, Any]) -> str:
    """An object as a line of a file of JSON lines."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All that iterate_jsonl yields."""
    return list(iterate_jsonl(path))


def iterate_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read one JSON object per line, one at a time.

    Raises:
      DataError: no such file, or, with its number, a line that is not a JSON object in UTF-8 or has a lone surrogate.
    """
    if not path.is_file():
        raise DataError(f"no file {path}")
    with open(path, "rb") as f:  # as bytes, since decoding ahead would give the error the number of another line
        for number, line in enumerate(f, 1):
            yield _parse_object(line, f"{path}, line {number}")


def lone_surrogate(text: str) -> str | None:
    """The first half of a surrogate pair in a text, such as \\ud83d; no file in UTF-8 can hold it."""
    try:
        text.encode()
    except UnicodeEncodeError as e:
        return f"\\u{ord(text[e.start]):04x}"
    return None


def _parse_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as e:  # from JSON or from UTF-8
        raise DataError(f"{where}: not JSON ({e}); make the file again") from e
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, and it is {line[:40]!r}")
    if surrogate := lone_surrogate(json.dumps(row, ensure_ascii=False)):
        raise DataError(f"{where}: {surrogate} is half of a character (a lone surrogate); correct the text")
    return row
