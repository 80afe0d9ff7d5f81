"""A folder kept to one process, also after a crash: locks that end with the process that holds them."""

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
