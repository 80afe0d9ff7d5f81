"""Results of named recordings in one folder, each made once: a run that was stopped makes only what is missing.

Results are matched by the recording's content, not by its path: results of a recording of the same name with other
content are replaced.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.locks import folder_lock

logger = logging.getLogger(__name__)
T = TypeVar("T")
_MOST_LISTED = 20  # failures in a message; each is also logged


@dataclass(frozen=True)
class _Mark:
    """What NAME.done records: digests of the recording, of the options, and of each file that was made."""

    content: str
    options: str
    files: dict[str, str]


@dataclass(frozen=True)
class ResultFolder:
    """A folder with the files NAME + each of `suffixes` of every recording NAME.

    The subfolder `state` has a NAME.done for each recording that is done. As with a Stage, is_done() says whether the
    files of a recording are up to date, and work() writes them.
    """

    folder: Path
    state: str  # name of the subfolder
    suffixes: tuple[str, ...]
    options: str  # digest of everything besides the recording that the files depend on
    may_be_edited: bool  # whether files that were changed after they were written are kept; otherwise they are an error

    @property
    def state_dir(self) -> Path:
        """The subfolder of the marks."""
        return self.folder / self.state

    def work_dir(self, name: str) -> Path:
        """The folder that work() yields."""
        return self.state_dir / f"{name}.work"

    def check(self, recordings: Sequence[tuple[str, Path]]) -> None:
        """Check (name, path) of all recordings before work begins: see check_recordings.

        Raises:
          DataError: also if a file that would be written belongs to another recording of an earlier run.
        """
        check_recordings(recordings, self.suffixes)
        names = {name for name, _ in recordings}
        files = {_folded(f"{name}{suffix}"): name for name in names for suffix in self.suffixes}
        for path in sorted(self.state_dir.glob("*.done")):
            other = path.name.removesuffix(".done")
            mark = self._read_mark(other) if other not in names else None
            for file in mark.files if mark is not None else ():
                if _folded(file) in files and (self.folder / file).is_file():
                    raise DataError(
                        f"{self.folder / file} belongs to the recording {other} of an earlier run, and "
                        f"{files[_folded(file)]} would replace it: rename one, or write to another folder"
                    )

    def missing(self, recordings: Sequence[tuple[str, Path]]) -> dict[str, str]:
        """Those (name, path) whose files must be made; how many are done already is logged.

        Returns:
          {name: digest_file of the recording, for work()}; the digest is "" if the recording cannot be read: whoever
          works on it meets the error.
        Raises:
          DataError: see is_done.
        """
        missing: dict[str, str] = {}
        for name, path in recordings:
            try:
                content = digest_file(path)
            except OSError:
                missing[name] = ""
                continue
            if not self.is_done(name, content):
                missing[name] = content
        if len(missing) < len(recordings):
            logger.info("%d of %d lectures are done already", len(recordings) - len(missing), len(recordings))
        return missing

    def is_done(self, name: str, content: str) -> bool:
        """True if all files of a recording exist and were made from this content with these options.

        Args:
          name: the recording's.
          content: digest_file of the recording.
        Raises:
          DataError: a file was changed after it was written, unless may_be_edited.
        """
        mark = self._read_mark(name)
        paths = [self.folder / f"{name}{suffix}" for suffix in self.suffixes]
        if mark is None or not all(path.is_file() for path in paths):
            return False
        if mark.content != content:
            logger.info(
                "%s: its files in %s were made from another recording of this name; they will be replaced",
                name,
                self.folder,
            )
            return False
        if mark.options != self.options:
            logger.info(
                "%s: the models or options have changed since its files in %s were made; they will be replaced",
                name,
                self.folder,
            )
            return False
        for path in paths if not self.may_be_edited else ():
            if digest_file(path) != mark.files.get(path.name):
                raise DataError(
                    f"{path} is damaged, or was changed since it was written: remove it, and the same command makes it "
                    "again"
                )
        return True

    def done(self, is_known_good: Collection[str] = frozenset()) -> list[str]:
        """The names of all recordings that are done with these options, in this run or an earlier one, sorted.

        A recording whose files were removed is not among them, nor is one whose files were changed, which is logged.

        Args:
          is_known_good: recordings whose files were made or checked in this run, a set; they are not read again.
        """
        names = []
        for path in self.state_dir.glob("*.done"):
            name = path.name.removesuffix(".done")
            if name in is_known_good:
                names.append(name)
                continue
            mark = self._read_mark(name)
            if mark is None or mark.options != self.options:
                continue
            try:
                if self.is_done(name, mark.content):
                    names.append(name)
            except DataError as e:
                logger.warning("%s; %s is left out", e, name)
        return sorted(names)

    @contextlib.contextmanager
    def work(self, name: str, content: str) -> Iterator[Path]:
        """Yield an empty folder; if the block ends without an exception, its files become those of the recording.

        Args:
          name: the recording's.
          content: digest_file of the recording.
        Raises:
          DataError: another process is making the files of this name, or the disk is full. The old files stay.
        """
        work_dir = self.work_dir(name)
        mark = self._mark_path(name)
        with space_for(name, self.folder), folder_lock(work_dir), _emptied(work_dir):
            yield work_dir
            names = [f"{name}{suffix}" for suffix in self.suffixes]
            digests = {file: digest_file(work_dir / file) for file in names}
            mark.unlink(missing_ok=True)  # from here on, the files may be of both runs
            for file in names:
                os.replace(work_dir / file, self.folder / file)
            write_json(mark, {"content": content, "options": self.options, "files": digests})

    def _mark_path(self, name: str) -> Path:
        return self.state_dir / f"{name}.done"

    def _read_mark(self, name: str) -> _Mark | None:
        """None if the mark is missing or damaged."""
        try:
            values = json.loads(self._mark_path(name).read_bytes())
            return _Mark(values["content"], values["options"], dict(values["files"]))
        except (OSError, ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class Failure:
    """A line with a recording's path and why it has no results."""

    line: str


def attempt(work: Callable[[], T], recording: Path, work_dir: Path) -> T | Failure:
    """What work() returns, or why it failed, whatever it raised; only Ctrl-C is passed on.

    Args:
      work: does all that there is to do for a recording.
      recording: the user's file, which the line names.
      work_dir: see ResultFolder.work_dir.
    """
    try:
        return work()
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # a panic in a library written in Rust is not an Exception
        logger.debug("%s", recording, exc_info=True)
        return Failure(failure_line(e, recording, work_dir))


def list_failures(lines: Sequence[str]) -> str:
    """The first of many lines of failures in one, and how many more there are."""
    more = f"; and {len(lines) - _MOST_LISTED} more, each named above" if len(lines) > _MOST_LISTED else ""
    return "; ".join(lines[:_MOST_LISTED]) + more


@contextlib.contextmanager
def space_for(lecture: str, folder: Path) -> Iterator[None]:
    """Say for which lecture the disk is full.

    Raises:
      DataError: the disk is full.
    """
    try:
        yield
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DataError(
            f"no space left for lecture {lecture} in {folder}: nothing half-written was left there; free some space "
            "and run the same command again, which makes what is missing"
        ) from e


def check_recordings(recordings: Sequence[tuple[str, Path]], suffixes: Sequence[str] = ("",)) -> None:
    """Check (name, path) of all recordings before work begins; each gets the files NAME + each of `suffixes`.

    Raises:
      DataError: a recording does not exist, or files of two recordings would have the same name.
    """
    missing = [path for _, path in recordings if not path.is_file()]
    if missing:
        raise DataError(f"no such recording: {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))
    check_names([name for name, _ in recordings], suffixes)


def check_names(names: Sequence[str], suffixes: Sequence[str]) -> None:
    """Check that recordings of these names, each with the files NAME + each of `suffixes`, share no file.

    Names that differ only in case or in Unicode's form (NFC, NFD) are one file on macOS and Windows.

    Raises:
      DataError: two recordings share a file.
    """
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise DataError(f"{count} recordings are named {name}; their files would be the same: rename one")
    owners: dict[str, str] = {}
    for name in names:
        for file in (f"{name}{suffix}" for suffix in suffixes):
            other = owners.setdefault(_folded(file), name)
            if other != name:
                raise DataError(
                    f"the recordings {other} and {name} would both have the file {file} (some disks ignore upper and "
                    "lower case): rename one, or write them to different folders"
                )


def failure_line(error: BaseException, recording: Path, work_dir: Path) -> str:
    """A line that says why a recording failed, and names it instead of its converted copy in work_dir."""
    text = " ".join(str(error).split())
    if not isinstance(error, DataError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    copy = f"{re.escape(str(work_dir))}/[.]?{re.escape(recording.stem)}[.\\w]*"
    text = re.sub(copy, lambda _: str(recording), text)
    return text if recording.name in text else f"{recording}: {text}"


def _folded(file: str) -> str:
    """A file's name as a file system that ignores case and normalises Unicode sees it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", file).casefold())


@contextlib.contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Make a folder without what a killed run left in it, and remove it at the end."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
