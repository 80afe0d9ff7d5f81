"""What the stages share: options, the `.done` mark, files that appear whole or not at all, one-line errors.

This module is imported before a stage knows whether it has anything to do, so it imports nothing heavy.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

from lhotse_prep.errors import DataError, Ml2021Error

DONE = ".done"
_PROCESS_START = time.time()
_open_locks: set[IO[str]] = set()
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """A file or folder that a stage reads, and the stage that writes it (None: the project or the user)."""

    path: Path
    made_by: int | None = None


class Stage:
    """One stage's output folder: is it there and current, and if not, write it whole.

    The key is a hash of the inputs' content and of the options. With `resumable`, work goes on in the folder itself
    (training, whose checkpoints must outlive a kill); otherwise into a temporary folder that is renamed at the end.
    """

    def __init__(
        self,
        name: str,
        out_dir: Path,
        inputs: Sequence[Input],
        options: Mapping[str, Any],
        resumable: bool = False,
    ) -> None:
        self.name, self.out_dir, self.resumable = name, out_dir, resumable
        self.inputs = inputs
        self.options = options
        self._key: str | None = None

    @property
    def key(self) -> str:
        """Hash of inputs and options; raises DataError where an input is missing."""
        if self._key is None:
            digest = hashlib.sha256(self.name.encode())
            digest.update(json.dumps(self.options, sort_keys=True, default=str).encode())
            for item in self.inputs:
                digest.update(f"\n{item.path.name}:{_input_digest(item)}".encode())
            self._key = digest.hexdigest()
        return self._key

    def is_done(self) -> bool:
        """True where the outputs are there and were made from these inputs with these options.

        Raises:
          DataError: an input is missing; the message names the stage that makes it.
        """
        key = self.key  # before anything else: it reads the inputs
        done = read_done(self.out_dir)
        if done is None or done["key"] != key:
            return False
        missing = [f for f in done["outputs"] if not (self.out_dir / f).exists()]
        if missing:
            logger.warning("%s: %s is gone from %s; making it again", self.name, missing[0], self.out_dir)
            return False
        logger.info("%s: up to date in %s (made in %.1f s)", self.name, self.out_dir, done["seconds"])
        return True

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """Give the folder to write into; on a clean exit its files become the stage's outputs.

        Raises:
          DataError: another process is writing the same folder.
        """
        with held(self.out_dir):
            yield from self._work()

    def _work(self) -> Iterator[Path]:
        work_dir = self.out_dir if self.resumable else self.out_dir.with_name(f".{self.out_dir.name}.tmp")
        if self.resumable:
            self._set_aside_if_stale()
        else:
            shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True, exist_ok=True)
        if self.resumable:
            (self.out_dir / DONE).unlink(missing_ok=True)
            write_text(work_dir / ".key", self.key)
        yield work_dir
        done = {
            "stage": self.name,
            "key": self.key,
            "seconds": round(time.time() - _PROCESS_START, 2),
            "finished": time.strftime("%Y-%m-%d %H:%M:%S"),
            "outputs": _digest_tree(work_dir),
        }
        write_text(work_dir / DONE, json.dumps(done, indent=1))
        if not self.resumable:
            old = self.out_dir.with_name(f".{self.out_dir.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if self.out_dir.exists():
                self.out_dir.rename(old)
            work_dir.rename(self.out_dir)
            shutil.rmtree(old, ignore_errors=True)

    def _set_aside_if_stale(self) -> None:
        """Work begun from other inputs must not be resumed: move it out of the way, and say so."""
        key_file = self.out_dir / ".key"
        if not self.out_dir.exists() or (key_file.is_file() and key_file.read_text() == self.key):
            return
        if not any(self.out_dir.iterdir()):
            return
        aside = self.out_dir.with_name(f"{self.out_dir.name}.before-{datetime.now():%Y%m%d-%H%M%S-%f}")
        self.out_dir.rename(aside)
        logger.warning("%s: inputs or options changed; what was in %s is now in %s", self.name, self.out_dir, aside)


@contextlib.contextmanager
def whole_files(out_dir: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """Give a folder to write into, whose files and folders come to out_dir on a clean exit, in the place of those
    there that match the patterns; nothing else there is touched.

    The patterns are in the order in which things go and their successors come: what is matched by the first goes first
    and comes last, so that whoever finds it finds all.

    Raises:
      DataError: another process is writing the same folder.
    """

    def rank(path: Path) -> int:
        return next((i for i, pattern in enumerate(patterns) if fnmatch(path.name, pattern)), len(patterns))

    with held(out_dir):
        work_dir = out_dir.with_name(f".{out_dir.name}.tmp")
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir()
        yield work_dir
        out_dir.mkdir(exist_ok=True)
        for path in sorted((p for p in out_dir.iterdir() if rank(p) < len(patterns)), key=rank):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in sorted(work_dir.iterdir(), key=rank, reverse=True):
            path.rename(out_dir / path.name)
        work_dir.rmdir()


@contextlib.contextmanager
def held(out_dir: Path) -> Iterator[None]:
    """Keep a folder, which need not be there yet, to this process; one that ends, however it ends, lets go of it.

    Raises:
      DataError: another process holds it.
    """
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    lock = out_dir.with_name(f".{out_dir.name}.lock")
    with _locked(lock) as f:
        if f is None:
            pid = lock.read_text().strip() if lock.is_file() else ""
            raise DataError(
                f"{out_dir} is being written by another run{f' (process {pid})' if pid else ''}; wait until that is "
                "done, or write to another folder"
            )
        f.truncate(0)
        f.write(str(os.getpid()))
        f.flush()
        _open_locks.add(f)
        try:
            yield
        finally:
            _open_locks.discard(f)
            lock.unlink(missing_ok=True)


def _close_locks() -> None:
    """In a process that was forked: a worker that outlives a kill for some seconds must not keep the folder."""
    while _open_locks:
        _open_locks.pop().close()


os.register_at_fork(after_in_child=_close_locks)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str] | None]:
    """A file that this process has locked; None where another one has."""
    while True:
        with open(path, "a", encoding="utf-8") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            except OSError:  # a file system without locks
                yield f
                return
            if path.exists() and os.path.samestat(os.fstat(f.fileno()), path.stat()):
                yield f
                return
        # whoever had it has removed it in the meantime: this is a file that no one else sees


def read_done(out_dir: Path) -> dict[str, Any] | None:
    """The `.done` of a stage's folder, or None where it is absent or damaged."""
    try:
        content = json.loads((out_dir / DONE).read_text())
        return content if {"key", "seconds", "outputs"} <= content.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def stage_files(out_dir: Path, pattern: str) -> list[Path]:
    """The files in a finished stage's folder that the stage itself wrote; all where it did not finish."""
    done = read_done(out_dir)
    return sorted(p for p in out_dir.glob(pattern) if done is None or str(p.relative_to(out_dir)) in done["outputs"])


def stage_parser(description: str) -> argparse.ArgumentParser:
    """The options that every stage has; `--a_b` is the same as `--a-b`, abbreviations are refused."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--conf", type=Path, default=Path("conf/mini"), help="folder of YAML files [%(default)s]")
    parser.add_argument("--data", type=Path, default=Path("data/mini"), help="data folder [%(default)s]")
    parser.add_argument("--exp", type=Path, default=Path("exp/mini"), help="experiment folder [%(default)s]")
    return parser


def hyphenated(argv: Sequence[str]) -> list[str]:
    """Let `--a_b` stand for `--a-b` in an argument list."""
    return [
        "--" + a[2:].split("=", 1)[0].replace("_", "-") + ("=" + a.split("=", 1)[1] if "=" in a else "")
        if a.startswith("--")
        else a
        for a in argv
    ]


def run_main(main: Callable[[list[str]], None]) -> None:
    """Entry point of an executable: logging on, users' errors as one line, exit code 1; Ctrl-C is 130."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s (%(filename)s:%(lineno)d:%(funcName)s) %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
    )
    try:
        main(hyphenated(sys.argv[1:]))
    except Ml2021Error as e:
        sys.exit(f"{_program()}: error: {e}")
    except OSError as e:
        if e.errno is None or e.filename is None and "space" not in str(e):
            raise
        sys.exit(f"{_program()}: error: {e.strerror}: {e.filename or ''}")
    except KeyboardInterrupt:
        sys.exit(130)


def _program() -> str:
    """What the user called: the name of a script, or of a module after python -m."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name.removesuffix(".__main__") if spec is not None else Path(sys.argv[0]).name


@contextlib.contextmanager
def whole_file(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only once it is written, flushed and on disk."""
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
    """A text file's content; None where there is no such file. Raises DataError where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as e:
        raise DataError(f"{path} is not UTF-8 (byte {e.start}); convert it") from e


def write_text(path: Path, text: str) -> None:
    """Write a small text file whole."""
    with whole_file(path) as f:
        f.write(text)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole, readable and with its characters as they are."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, whole."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; raises DataError with the line's number where one is damaged."""
    if not path.is_file():
        raise DataError(f"no file {path}")
    rows: list[dict[str, Any]] = []
    try:
        with open(path, encoding="utf-8-sig") as f:  # str.splitlines would also cut where JSON leaves characters alone
            rows.extend(json.loads(line) for line in f)
    except ValueError as e:  # of JSON, or of UTF-8
        raise DataError(f"{path}, line {len(rows) + 1}: not JSON ({e}); make the file again") from e
    return rows


def _input_digest(item: Input) -> str:
    path = item.path
    if path.is_dir():
        if item.made_by is None:
            return json.dumps(_digest_tree(path), sort_keys=True)
        done = read_done(path)
        if done is not None:
            return json.dumps(done["outputs"], sort_keys=True)
    elif path.is_file():
        return _digest_file(path)
    if item.made_by is None:
        raise DataError(f"no such file or folder: {path}")
    raise DataError(
        f"{path} is missing or unfinished: stage {item.made_by} makes it; "
        f"run ./run.sh --stage {item.made_by} --stop-stage {item.made_by} with the same --corpus first"
    )


def _digest_tree(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): _digest_file(p) for p in files}


def _digest_file(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
