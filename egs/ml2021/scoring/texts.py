"""Transcripts of any system as {id: text}: Kaldi's `id text` lines, bare lines, icefall's recogs files, and CTM."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse_prep.alignment.ctm import is_comment, is_ctm_line, read_ctm
from lhotse_prep.text.normalize import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text

FORMATS = ("auto", "kaldi", "bare", "recogs", "ctm")
_RECOGS_LINE = re.compile(r"(?P<id>.+):\t(?P<side>ref|hyp)=(?P<tokens>\[.*\])")


def read_texts(path: Path, side: str, file_format: str = "auto") -> dict[str, str]:
    """Read {id: text} in the order of the file.

    Args:
      path: the file.
      side: "ref" or "hyp": which side of a recogs file to read.
      file_format: one of FORMATS; auto guesses it from the lines. Bare lines get their numbers as ids: "1", "2", ...
    Raises:
      DataError: the file does not exist, repeats an id, or has a damaged line.
    """
    content = read_text(path)
    if content is None:
        raise DataError(f"no such file: {path}")
    lines = [line for line in content.replace("\r\n", "\n").split("\n") if line.strip()]
    readers: dict[str, Callable[[Path, Sequence[str], str], dict[str, str]]]
    readers = {"kaldi": _read_kaldi, "bare": _read_bare, "recogs": _read_recogs, "ctm": _read_ctm}
    return readers[format_of(lines) if file_format == "auto" else file_format](path, lines, side)


def format_of(lines: Sequence[str]) -> str:
    """Guess the format of a file from its non-blank lines.

    Plain text is bare (without ids) if the first word of a line has a Chinese character, which ids do not have, or if
    most first words are repeated.
    """
    if lines and _RECOGS_LINE.fullmatch(lines[0]):
        return "recogs"
    words = [line for line in lines if not is_comment(line)]
    if words and all(map(is_ctm_line, words)):
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
    words = read_ctm(path)
    texts: dict[str, list[str]] = {w.recording: [] for w in words}
    for w in sorted(words, key=lambda w: w.start):
        texts[w.recording].append(w.word)
    return {recording: " ".join(text) for recording, text in texts.items()}


def _add(path: Path, texts: dict[str, str], utterance_id: str, text: str) -> None:
    if utterance_id in texts:
        raise DataError(
            f"{path}: utterance {utterance_id} occurs twice; keep one of them (or use --format bare if the lines "
            "have no ids)"
        )
    texts[utterance_id] = text
