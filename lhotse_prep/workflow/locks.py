"""Locks that keep a folder to one process. The kernel releases them when the process ends, even if it is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from lhotse_prep.workflow.errors import DataError

_open_locks: set[IO[str]] = set()


@contextlib.contextmanager
def folder_lock(out_dir: Path) -> Iterator[None]:
    """Lock a folder, which need not exist yet, for this process until the block or the process ends.

    Raises:
      DataError: another process has locked it.
    """
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    lock = out_dir.with_name(f".{out_dir.name}.lock")
    with _locked(lock) as f:
        if f is None:
            pid = lock.read_text().strip() if lock.is_file() else ""
            raise DataError(
                f"{out_dir} is being written by another run{f' (process {pid})' if pid else ''}; wait until it "
                "ends, or write to another folder"
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
    """Run in a forked child: a worker that outlives its killed parent for some seconds must not keep the folder."""
    while _open_locks:
        _open_locks.pop().close()


os.register_at_fork(after_in_child=_close_locks)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[IO[str] | None]:
    """Yield the file, locked by this process, or None if another process has locked it."""
    while True:
        with open(path, "a", encoding="utf-8") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            except OSError:  # this file system has no locks
                yield f
                return
            if path.exists() and os.path.samestat(os.fstat(f.fileno()), path.stat()):
                yield f
                return
