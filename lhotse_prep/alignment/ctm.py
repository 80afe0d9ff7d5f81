"""CTM files (NIST's format of time-marked words), read and written.

A line is `recording channel start duration word [confidence]`; lines that begin with `;;` are comments.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text, write_text

_NUMBER = r"\d+(\.\d*)?"
_LINE = re.compile(rf"\S+\s+\S+\s+{_NUMBER}\s+{_NUMBER}\s+\S+(\s+-?{_NUMBER})?\s*")


class CtmWord(NamedTuple):
    """A line of a CTM file."""

    recording: str
    start: float  # seconds
    duration: float  # seconds
    word: str
    confidence: float = 0.0


def is_comment(line: str) -> bool:
    """Whether a line of a CTM file is a comment."""
    return line.startswith(";;")


def is_ctm_line(line: str) -> bool:
    """Whether a line of a file in an unknown format looks like a word of a CTM file."""
    return _LINE.fullmatch(line) is not None


def read_ctm(path: Path) -> list[CtmWord]:
    """The words of a CTM file, in its order; blank lines and comments are skipped.

    Raises:
      DataError: the file is not UTF-8, or a line has fewer than five fields, a time that is not a number of seconds
        >= 0, or a confidence that is not a number or NA.
    """
    words = []
    for number, line in enumerate((read_text(path) or "").split("\n"), 1):
        fields = line.split()
        if not fields or is_comment(line):
            continue
        where = f"{path}, line {number}"
        confidence = _confidence(fields[5]) if len(fields) > 5 else 0.0
        if len(fields) < 5 or confidence is None:
            raise DataError(
                f"{where}: expected 'recording channel start duration word', then a confidence or nothing; got "
                f"{line[:80]!r}"
            )
        start, duration = (parse_seconds(x, where) for x in fields[2:4])
        words.append(CtmWord(fields[0], start, duration, fields[4], confidence))
    return words


def write_ctm(path: Path, words: Iterable[CtmWord], digits: int = 3) -> None:
    """Write words to a CTM file, all on channel 1; confidences have `digits` decimals, times three."""
    lines = [f"{w.recording} 1 {w.start:.3f} {w.duration:.3f} {w.word} {w.confidence:.{digits}f}\n" for w in words]
    write_text(path, "".join(lines))


def parse_seconds(value: object, where: str) -> float:
    """A time as a number; raises DataError, which `where` begins, if it is not a finite number >= 0."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{where}: {value!r} is no time in seconds")
    return seconds


def _confidence(field: str) -> float | None:
    """0 for NA, which NIST allows; None for anything else that is not a number."""
    if field.upper() == "NA":
        return 0.0
    try:
        return float(field)
    except ValueError:
        return None
