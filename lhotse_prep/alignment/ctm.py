"""CTM files (NIST's format of time-marked words), read and written.

A line is `recording channel start duration word [confidence [type [speaker]]]`, times in seconds; lines that begin with
`;;` are comments. Fields are separated by spaces or tabs, so what would break a line is written with percent signs, as
in a URL: the recording `my lecture` is `my%20lecture`. Read back, it is `my lecture` again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text, whole_file

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_FIELD = re.compile(r"[^ \t\r\f\v]+")
_TYPES = ("lex", "frag", "fp", "un-lex", "for-lex", "non-lex", "misc", "noscore", "na", "<na>")  # NIST's, of words
_LATEST = 1e9  # seconds
_EMPTY = "%_"  # an empty field
# What ends a field or a line in some program, begins a comment or a file, is not UTF-8, or would be read as a code.
_BREAKS_LINE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff]|\A[;\ufeff]|%(?=[0-9A-Fa-f]{2})")
_CODES = re.compile("(?:%[0-9A-Fa-f]{2})+")


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
    fields = _FIELD.findall(line)
    return (
        len(fields) >= 5
        and all(_NUMBER.fullmatch(x) and not x.startswith("-") for x in fields[2:4])
        and (len(fields) == 5 or _confidence(fields[5]) is not None)
        and (len(fields) <= 6 or fields[6].lower() in _TYPES)
    )


def read_ctm(path: Path) -> list[CtmWord]:
    """All that iterate_ctm yields."""
    return list(iterate_ctm(path))


def iterate_ctm(path: Path) -> Iterator[CtmWord]:
    """The words of a CTM file, in its order; blank lines and comments are skipped.

    Raises:
      DataError: the file is not UTF-8, or a line has fewer than five fields, a time that is not a number of seconds
        >= 0, a confidence that is not a number or NA, alternatives, or a space in its recording's name.
    """
    if not path.is_file():
        return
    with open(path, encoding="utf-8-sig") as f:
        try:
            for number, line in enumerate(f, 1):
                if line.strip() and not is_comment(line):
                    yield _parse_line(line.removesuffix("\n"), f"{path}, line {number}")
        except UnicodeDecodeError:
            read_text(path)  # raises the error with its place in the file
            raise


def write_ctm(path: Path, words: Iterable[CtmWord], digits: int = 3) -> None:
    """Write words to a CTM file, all on channel 1; confidences have `digits` decimals, times three."""
    with whole_file(path) as f:
        f.writelines(ctm_line(w, digits) for w in words)


def ctm_line(word: CtmWord, digits: int = 3) -> str:
    """A word as write_ctm writes it."""
    recording, text = escaped(word.recording), escaped(word.word)
    return f"{recording} 1 {word.start:.3f} {word.duration:.3f} {text} {word.confidence:.{digits}f}\n"


def escaped(field: str) -> str:
    """A field without spaces: characters that would break a line, in UTF-8, as %XX; `unescaped` is the inverse.

    A percent sign is written %25 only where it would be read as part of such a code.
    """
    if field in ("", _EMPTY):
        return "%25_" if field else _EMPTY
    return _BREAKS_LINE.sub(lambda match: _code(match[0]), field)


def unescaped(field: str) -> str:
    """What `escaped` was given; codes that are not UTF-8 stay as they are."""
    return "" if field == _EMPTY else _CODES.sub(lambda match: _decoded(match[0]), field)


def parse_seconds(field: str, where: str) -> float:
    """A field of a text file as a time; raises DataError, which `where` begins, if it is not a finite number >= 0."""
    if _NUMBER.fullmatch(field):
        return as_seconds(float(field), where, field)
    hint = "; write a decimal point" if "," in field and _NUMBER.fullmatch(field.replace(",", ".")) else ""
    raise DataError(f"{where}: {field!r} is no time in seconds{hint}")


def as_seconds(value: object, where: str, field: str | None = None) -> float:
    """A number as a time; raises DataError, which `where` begins, if it is not a finite number >= 0.

    Args:
      value: of any type.
      where: file and line.
      field: how the number is written in the file, if not as JSON.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LATEST:
        return float(value)
    shown = repr(value if field is None else field)
    raise DataError(f"{where}: {shown[:40]} is no time in seconds")


def _parse_line(line: str, where: str) -> CtmWord:
    fields = _FIELD.findall(line)
    if any(field.upper().startswith("<ALT") for field in fields[4:5]):
        raise DataError(f"{where}: alternatives ({fields[4]}) are not read; keep one of them, without their marks")
    confidence = _confidence(fields[5]) if len(fields) > 5 else 0.0
    if len(fields) < 5 or confidence is None:
        raise DataError(
            f"{where}: expected 'recording channel start duration word', then a confidence or nothing; got "
            f"{line.strip()[:80]!r} (a space in the name of a recording is written %20)"
        )
    if len(fields) > 6 and fields[6].lower() not in _TYPES and _NUMBER.fullmatch(fields[4]) and len(fields[1]) > 1:
        raise DataError(
            f"{where}: {line.strip()[:80]!r} has a space in the name of its recording, it seems; write it as %20"
        )
    start, duration = (parse_seconds(x, where) for x in fields[2:4])
    return CtmWord(unescaped(fields[0]), start, duration, unescaped(fields[4]), confidence)


def _code(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode(errors="surrogatepass"))


def _decoded(codes: str) -> str:
    try:
        return bytes.fromhex(codes.replace("%", "")).decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return codes


def _confidence(field: str) -> float | None:
    """0 for NA, which NIST allows; None for anything else that is not a number."""
    if field.upper() == "NA":
        return 0.0
    if _NUMBER.fullmatch(field) is None:
        return None
    return float(field) if math.isfinite(float(field)) else None
