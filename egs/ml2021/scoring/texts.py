"""Transcripts of any system as {id: text}: Kaldi's `id text` lines, bare lines, icefall's recogs files, and CTM.

A CTM line is `recording channel start duration word [confidence]`; lines that begin with `;;` are comments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse_prep.text.normalize import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text

FORMATS = ("auto", "kaldi", "bare", "recogs", "ctm")
_RECOGS_LINE = re.compile(r"(?P<id>.+):\t(?P<side>ref|hyp)=(?P<tokens>\[.*\])")
_NUMBER = r"\d+(\.\d*)?"
_CTM_LINE = re.compile(rf"\S+\s+\S+\s+{_NUMBER}\s+{_NUMBER}\s+\S+(\s+-?{_NUMBER})?\s*")


def read_texts(path: Path, side: str, file_format: str = "auto") -> dict[str, str]:
    """Read {id: text}, in the order of the file.

    Args:
      path: the file.
      side: "ref" or "hyp", which of the two a recogs file gives.
      file_format: one of FORMATS; auto looks at the lines. Bare lines have their numbers for ids: "1", "2", ...
    Raises:
      DataError: no such file, an id twice, or a damaged line.
    """
    content = read_text(path)
    if content is None:
        raise DataError(f"no file {path}")
    lines = [line for line in content.replace("\r\n", "\n").split("\n") if line.strip()]
    readers: dict[str, Callable[[Path, Sequence[str], str], dict[str, str]]]
    readers = {"kaldi": _read_kaldi, "bare": _read_bare, "recogs": _read_recogs, "ctm": _read_ctm}
    return readers[format_of(lines) if file_format == "auto" else file_format](path, lines, side)


def format_of(lines: Sequence[str]) -> str:
    """The format of a file's lines that are not blank.

    Plain text is bare where a first word is Chinese, since ids are not, or where most first words are there twice.
    """
    if lines and _RECOGS_LINE.fullmatch(lines[0]):
        return "recogs"
    words = [line for line in lines if not line.startswith(";;")]
    if words and all(_CTM_LINE.fullmatch(line) for line in words):
        return "ctm"
    first = [line.split(maxsplit=1)[0] for line in lines]
    is_bare = any(is_han(c) for word in first for c in word) or len(set(first)) < len(first) / 2
    return "bare" if is_bare else "kaldi"


def _read_kaldi(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line in lines:
        utterance_id, text = (line.split(maxsplit=1) + [""])[:2]
        _add(path, texts, utterance_id, text.strip())
    return texts


def _read_bare(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    return {str(number): line.strip() for number, line in enumerate(lines, 1)}


def _read_recogs(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line in lines:
        match = _RECOGS_LINE.fullmatch(line)
        try:
            tokens = ast.literal_eval(match["tokens"]) if match else None
        except (SyntaxError, ValueError):
            tokens = None
        if match is None or tokens is None:
            raise DataError(f"{path}: not a line of a recogs file: {line[:80]!r}")
        if match["side"] == side:
            _add(path, texts, match["id"], " ".join(tokens))
    return texts


def _read_ctm(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    words: dict[str, list[tuple[float, str]]] = {}
    for line in lines:
        if line.startswith(";;"):
            continue
        if not _CTM_LINE.fullmatch(line):
            raise DataError(f"{path}: not a line of a CTM file (recording channel start duration word): {line[:80]!r}")
        recording, _, start, _, word = line.split()[:5]
        words.setdefault(recording, []).append((float(start), word))
    return {recording: " ".join(w for _, w in sorted(row, key=lambda x: x[0])) for recording, row in words.items()}


def _add(path: Path, texts: dict[str, str], utterance_id: str, text: str) -> None:
    if utterance_id in texts:
        raise DataError(
            f"{path}: utterance {utterance_id} is there twice; keep one of them (or give --format bare, where lines "
            "have no ids)"
        )
    texts[utterance_id] = text
