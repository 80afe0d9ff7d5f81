"""Write cues as .srt, .vtt and .ass, by pysubs2.

What a format would take for a mark of its own is written so that viewers see the text: `<` in .srt as `＜`, say.
Unicode's compatibility forms (NFKC) turn such characters back.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path

import pysubs2

from lhotse_prep.workflow.files import write_text
from ml2021.st.cues.cue import Cue

_WIDE = str.maketrans({"{": "｛", "}": "｝", "\\": "＼"})  # tags and line ends of .ass, which players know in .srt too
_SRT_MARKS = {"-->": "→", "<": "＜"}
_SOURCE, _TARGET = "Source", "Target"
_FONT_SIZES = {_SOURCE: 64.0, _TARGET: 52.0}  # pixels of 1080
# The usual font of Linux for Chinese; players take another one with the characters where it is not installed.
_FONT = "Noto Sans CJK TC"


def write_srt(cues: Sequence[Cue], path: Path) -> None:
    """Write SubRip, completely or not at all."""

    def marked(line: str) -> str:
        for mark, replacement in _SRT_MARKS.items():
            line = line.replace(mark, replacement)
        return line.translate(_WIDE)

    _write([(cue, r"\N".join(marked(_visible(line)) for line in cue.lines)) for cue in cues], path)


def write_vtt(cues: Sequence[Cue], path: Path) -> None:
    """Write WebVTT, completely or not at all."""
    texts = [[escape(_visible(line).translate(_WIDE), quote=False) for line in cue.lines] for cue in cues]
    _write([(cue, r"\N".join(lines)) for cue, lines in zip(cues, texts)], path)


def write_ass(cues: Sequence[Cue], path: Path) -> None:
    """Write Advanced SubStation Alpha for 1920 x 1080, with a style for each language, completely or not at all."""
    events = []
    for cue in cues:
        source, target = (
            r"\N".join(_visible(line).translate(_WIDE) for line in lines)
            for lines in (cue.source_lines, cue.target_lines)
        )
        switch = rf"\N{{\r{_TARGET}}}" if source and target else ""
        start = -(-cue.start // 10) * 10  # .ass has hundredths of a second
        end = max(start + 10, cue.end // 10 * 10)
        events.append((replace(cue, start=start, end=end), source + switch + target))
    _write(events, path)


def _write(events: Sequence[tuple[Cue, str]], path: Path) -> None:
    file = pysubs2.SSAFile()
    file.info |= {"PlayResX": "1920", "PlayResY": "1080", "ScaledBorderAndShadow": "yes", "WrapStyle": "0"}
    file.info |= {"YCbCr Matrix": "TV.709"}
    file.styles = {
        name: pysubs2.SSAStyle(_FONT, size, outline=3.0, shadow=1.0, marginl=60, marginr=60, marginv=54)
        for name, size in _FONT_SIZES.items()
    }
    for cue, text in events:
        style = _SOURCE if cue.source_lines else _TARGET
        file.append(pysubs2.SSAEvent(start=cue.start, end=cue.end, text=text, style=style))
    options = {} if path.suffix == ".ass" else {"apply_styles": False}
    write_text(path, file.to_string(path.suffix[1:], **options))


def _visible(line: str) -> str:
    """A line without control characters, which are no text."""
    return "".join(c for c in line if unicodedata.category(c) != "Cc")
