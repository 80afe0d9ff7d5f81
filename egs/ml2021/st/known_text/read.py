"""Read the text of a lecture: plain text, or a subtitle file whose times may be coarse or wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from ml2021.st.known_text.cue_text import spoken_lines

logger = logging.getLogger(__name__)
SUBTITLES = (".srt", ".vtt", ".ass", ".ssa", ".sbv", ".ttml")
TEXTS = (".txt", *SUBTITLES)
_SBV = re.compile(r"^(\d+:\d\d:\d\d\.\d{3}),(\d+:\d\d:\d\d\.\d{3})$", re.MULTILINE)
_STAMP = re.compile(r"^\s*[\[(]?(?:\d{1,2}:)?\d{1,2}:\d{2}(?:[.,]\d{1,3})?[\])]?\s*")  # a time that begins a line
_BILINGUAL = 0.8  # of the cues with several lines, where one language is above the other
_FEWEST_MIXED = 3  # such cues
_NOT_TEXT = {
    b"PK\x03\x04": "a Word or Excel file",
    b"%PDF": "a PDF",
    b"{\\rt": "an RTF file",
    b"\xd0\xcf": "a Word file",
}


@dataclass(frozen=True)
class TextLine:
    """A line of the text, or a cue with its times in seconds."""

    text: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class KnownText:
    """What is said in a lecture, as its user writes it, and the translation that the same file has, if any."""

    path: Path
    lines: tuple[TextLine, ...]
    translation: tuple[str, ...] = ()

    @property
    def has_times(self) -> bool:
        return any(line.start is not None for line in self.lines)


def read_known_text(path: Path) -> KnownText:
    """Read a .txt, .srt, .vtt, .ass, .ssa or .sbv file.

    Of a bilingual subtitle file, the lines with Chinese characters are the text, and the others its translation.

    Raises:
      DataError: there is no such file, it is empty, is not UTF-8, or is of another format.
    """
    raw = _decoded(path)
    if path.suffix.lower() in SUBTITLES or raw.lstrip("\ufeff\n\r ").startswith("WEBVTT"):
        known = _of_cues(path, _cues(path, raw))
    else:
        known = KnownText(path, tuple(TextLine(line) for line in _plain_lines(raw)))
    if not known.lines:
        raise DataError(f"{path} has no text; give the words that are said in the recording")
    return known


def _decoded(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"there is no text {path}")
    content = path.read_bytes()
    for start, kind in _NOT_TEXT.items():
        if content.startswith(start):
            raise DataError(f"{path} is {kind}; save it as plain text (UTF-8)")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = content[: e.start].count(b"\n") + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from e


def _plain_lines(raw: str) -> list[str]:
    """Lines that are not empty, without the time that begins most of them, if one does."""
    lines = [line for line in raw.splitlines() if line.strip()]
    if sum(bool(_STAMP.match(line)) for line in lines) >= max(2, 0.4 * len(lines)):
        lines = [text for line in lines if (text := _STAMP.sub("", line)).strip()]
    return [" ".join(line.split()) for line in lines]


def _cues(path: Path, raw: str) -> list[TextLine]:
    """The cues of a subtitle file in order of time, with all their marks; raises DataError."""
    import pysubs2

    if raw.lstrip("\ufeff\n\r ").startswith("WEBVTT"):
        raw = _vtt_cues(raw)
    if _SBV.search(raw):
        raw = _SBV.sub(lambda m: f"{m[1].replace('.', ',')} --> {m[2].replace('.', ',')}", raw)
    try:
        subtitles = pysubs2.SSAFile.from_string(raw, keep_html_tags=True, keep_unknown_html_tags=True)
    except Exception as e:  # of many kinds, for many faults
        raise DataError(f"{path} cannot be read as subtitles ({e}); is it a .srt or .vtt file, and whole?") from e
    events = [e for e in subtitles.events if not e.is_comment and not e.is_drawing]
    if not events:
        raise DataError(f"{path} has no cue with times; if it is plain text, name it .txt")
    return [TextLine(e.text, e.start / 1000, e.end / 1000) for e in sorted(events, key=lambda e: e.start)]


def _vtt_cues(raw: str) -> str:
    """A WebVTT file without notes, styles and names of cues, which pysubs2 would take for text."""
    blocks = []
    for block in re.split(r"\n\s*\n", raw.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.split("\n")
        if times := [i for i, line in enumerate(lines) if "-->" in line]:
            blocks.append("\n".join(lines[times[0] :]))
    return "\n\n".join(["WEBVTT", *blocks]) + "\n"


def _of_cues(path: Path, cues: Sequence[TextLine]) -> KnownText:
    spoken = spoken_lines([cue.text for cue in cues])
    translation: tuple[str, ...] = ()
    if _is_bilingual(spoken):
        logger.info(
            "%s has two languages: the lines with Chinese characters are the text, the others its translation", path
        )
        translation = tuple(" ".join(line for line in lines if not _has_han(line)) for lines in spoken)
        spoken = [[line for line in lines if _has_han(line)] for lines in spoken]
        kept = [i for i, lines in enumerate(spoken) if lines]
        translation = tuple(translation[i] for i in kept)
    num_empty = sum(not lines for lines in spoken)
    if num_empty:
        logger.info("%s: %d of %d cues have nothing that is said, such as [Music]", path, num_empty, len(cues))
    lines = [TextLine(" ".join(lines), cue.start, cue.end) for cue, lines in zip(cues, spoken) if lines]
    return KnownText(path, tuple(lines), translation)


def _is_bilingual(spoken: Sequence[Sequence[str]]) -> bool:
    """Whether most cues have lines with Chinese characters and lines without."""
    several = [lines for lines in spoken if len(lines) > 1]
    mixed = [lines for lines in several if len({_has_han(line) for line in lines}) == 2]
    filled = sum(bool(lines) for lines in spoken)
    return len(mixed) >= _FEWEST_MIXED and len(several) >= 0.5 * filled and len(mixed) >= _BILINGUAL * len(several)


def _has_han(line: str) -> bool:
    return any(map(is_han, line))
