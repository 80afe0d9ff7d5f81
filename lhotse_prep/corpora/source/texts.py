"""Texts of lectures: plain text in UTF-8 and nothing else, and a text that several lectures share."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.findings import Finding

# What the first bytes of a file say about it, whatever its name.
_MAGIC = {
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a zip archive or an office document",
    b"\xd0\xcf\x11\xe0": "an office document",
    b"%PDF": "a PDF document",
    b"{\\rtf": "an RTF document",
    b"\x1f\x8b": "compressed by gzip",
    b"RIFF": "a recording",
    b"ID3": "a recording",
    b"fLaC": "a recording",
    b"OggS": "a recording",
    b"version https://git-lfs": "only the pointer to a file (Git LFS)",
}
_MARKUP = re.compile(r"\s*<(!doctype|html|head|body|\?xml|tt|transcript)\b", re.IGNORECASE)
_CUE = re.compile(r"(?m)^\s*(\d+:)?\d+:\d+[,.]\d+\s*-->\s*(\d+:)?\d+:\d+[,.]\d+")
_CLOCK = r"[\[(<{]?(\d{1,2}:)?\d{1,2}:\d{2}([.,:]\d{1,3})?[\])>}]?"
# 0:12 at the beginning or the end of a line, or two numbers of seconds as in labels and CTM
_TIME = re.compile(rf"{_CLOCK}(?!\d)|.*\s{_CLOCK}$|(\S+\s+\S+\s+)?\d+\.\d+\s+\d+\.\d+\s")
_MOST_TIMES = 0.2  # share of lines with a time; above it a text has times
_MIN_LINES = 3  # with a time, or with an id
_NUMBERED = re.compile(r"(.*\D)(\d{1,4000})")  # Python reads no longer numbers


class TextError(DataError):
    """A text that cannot be used: a message that says why, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.message, self.remedy = message, remedy

    def __reduce__(self) -> tuple[type[TextError], tuple[str, str]]:
        return TextError, (self.message, self.remedy)


def read_plain_text(path: Path) -> str:
    """The content of a text file, without the byte order mark.

    Raises:
      TextError: it is not UTF-8, or something other than plain text.
      OSError: it cannot be read.
    """
    content = path.read_bytes()
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    if kind is None and b"\0" in content:
        kind = "binary, or text in UTF-16"
    if kind is not None:
        raise TextError(f"{path} is {kind}", "save it as plain text in UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        raise TextError(f"{path} is not UTF-8 (byte {e.start}, in line {line})", "convert it") from e
    if markup := markup_kind(text):
        raise TextError(f"{path} {markup}", "give the text alone")
    return text


def markup_kind(text: str) -> str | None:
    """What is in a text that is not plain: subtitles, times, ids of lines, HTML or JSON; None if it is plain."""
    if _CUE.search(text) or text.lstrip().startswith("WEBVTT"):
        return "holds subtitles with times (SRT or WebVTT)"
    if text.lstrip().startswith(("[Script Info]", "{\\rtf")):
        return "holds markup (SSA or RTF)"
    if _MARKUP.match(text):
        return "holds HTML or XML"
    if text.lstrip()[:1] in ("{", "[") and _is_json(text):
        return "holds JSON"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    num_times = sum(bool(_TIME.match(line)) for line in lines)
    if num_times >= _MIN_LINES and num_times > _MOST_TIMES * len(lines):
        return f"has times in {num_times} of its {len(lines)} lines"
    ids = [_NUMBERED.fullmatch(line.split(maxsplit=1)[0]) for line in lines]
    numbers = [int(i[2]) for i in ids if i is not None]
    is_numbered = len(numbers) == len(lines) and numbers == sorted(set(numbers)) and len({i[1] for i in ids if i}) == 1
    if is_numbered and len(lines) >= _MIN_LINES:
        return f"has ids at the beginning of its lines ({lines[0].split(maxsplit=1)[0]})"
    return None


def check_same_texts(lectures: Iterable[tuple[str, str, str, str]]) -> list[Finding]:
    """A warning for each lecture with the transcript, or the translation, of an earlier one.

    Args:
      lectures: (part, id, text_digest of the transcript, text_digest of the translation) of each.
    """
    first: dict[tuple[str, str], str] = {}  # {(what, digest): the first lecture that has it}
    findings = []
    for part, name, transcript, translation in lectures:
        for what, digest in (("transcript", transcript), ("translation", translation)):
            if digest and (earlier := first.setdefault((what, digest), name)) != name:
                message = f"its {what} is that of {earlier}"
                remedy = "each recording needs its own: give it, or cut the text at the same place as the recording"
                findings.append(Finding(f"same-{what}", "lecture", name, part, message, remedy, is_error=False))
    return findings


def text_digest(text: str) -> str:
    """The digest of a text's letters and digits, whatever their case and what stands between them; "" without any."""
    letters = "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
    return letters and digest_bytes(letters.encode())


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
