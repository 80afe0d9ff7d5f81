"""A stage of run.sh: checks whether its output is up to date; if not, writes it completely and marks it `.done`.

Stages import this module before they know whether they have anything to do, so it imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.digests import digest_bytes, digest_file, digest_tree
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_text
from lhotse_prep.workflow.locks import folder_lock

DONE = ".done"

_PROCESS_START = time.time()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Input:
    """A file or folder that a stage reads, and the number of the stage that writes it (None: project or user)."""

    path: Path
    made_by: int | None = None


class Stage:
    """A stage's output folder: is_done() says whether it is up to date, work() writes it.

    The key is a hash of the inputs' content and of the options. With `resumable` the stage works in the folder itself
    (training, whose checkpoints must survive a kill); otherwise in a temporary folder that is renamed at the end.
    """

    def __init__(
        self, name: str, out_dir: Path, inputs: Sequence[Input], options: Mapping[str, Any], resumable: bool = False
    ) -> None:
        self.name, self.out_dir, self.resumable = name, out_dir, resumable
        self.inputs = inputs
        self.options = options
        self._key: str | None = None

    @property
    def key(self) -> str:
        """Hash of name, options and inputs; raises DataError if an input is missing."""
        if self._key is None:
            options = json.dumps(self.options, sort_keys=True, default=str)
            inputs = "".join(f"\n{item.path.name}:{_input_digest(item)}" for item in self.inputs)
            self._key = digest_bytes(f"{self.name}{options}{inputs}".encode())
        return self._key

    def is_done(self) -> bool:
        """True if the outputs exist and were made from these inputs with these options.

        Raises:
          DataError: an input is missing; the message names the stage that writes it.
        """
        key = self.key  # first of all, since it raises an error if an input is missing
        done = read_done(self.out_dir)
        if done is None or done["key"] != key:
            return False
        missing = [f for f in done["outputs"] if not (self.out_dir / f).exists()]
        if missing:
            logger.warning("%s: %s is missing from %s; running the stage again", self.name, missing[0], self.out_dir)
            return False
        logger.info("%s: up to date in %s (made in %.1f s)", self.name, self.out_dir, done["seconds"])
        return True

    @contextlib.contextmanager
    def work(self) -> Iterator[Path]:
        """Yield the folder to write into; if the block ends without an exception, its files become the outputs.

        Raises:
          DataError: another process is writing the same folder.
        """
        with folder_lock(self.out_dir):
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
            "outputs": digest_tree(work_dir),
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
        """Move away work that was begun from other inputs or options, which must not be resumed, and log a warning."""
        key_file = self.out_dir / ".key"
        if not self.out_dir.exists() or (key_file.is_file() and key_file.read_text() == self.key):
            return
        if not any(self.out_dir.iterdir()):
            return
        aside = self.out_dir.with_name(f"{self.out_dir.name}.before-{datetime.now():%Y%m%d-%H%M%S-%f}")
        self.out_dir.rename(aside)
        logger.warning(
            "%s: inputs or options changed; the old content of %s is now in %s", self.name, self.out_dir, aside
        )


def read_done(out_dir: Path) -> dict[str, Any] | None:
    """The content of `.done` in a stage's folder, or None if it is missing or damaged."""
    try:
        content = json.loads((out_dir / DONE).read_text())
        return content if {"key", "seconds", "outputs"} <= content.keys() else None
    except (OSError, ValueError, AttributeError):
        return None


def stage_files(out_dir: Path, pattern: str) -> list[Path]:
    """The files matching the pattern that the stage itself wrote; all that match if it did not finish."""
    done = read_done(out_dir)
    return sorted(p for p in out_dir.glob(pattern) if done is None or str(p.relative_to(out_dir)) in done["outputs"])


def _input_digest(item: Input) -> str:
    """The digest of a file, or the digests of a folder's files as JSON: for a stage's folder, of its outputs only."""
    path = item.path
    if path.is_dir():
        if item.made_by is None:
            return json.dumps(digest_tree(path), sort_keys=True)
        done = read_done(path)
        if done is not None:
            return json.dumps(done["outputs"], sort_keys=True)
    elif path.is_file():
        return digest_file(path)
    if item.made_by is None:
        raise DataError(f"no such file or folder: {path}")
    raise DataError(
        f"{path} is missing or unfinished: stage {item.made_by} makes it; "
        f"run ./run.sh --stage {item.made_by} --stop-stage {item.made_by} with the same --corpus first"
    )
