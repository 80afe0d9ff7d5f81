"""Transcripts of any system as {id: text}: Kaldi's `id text` lines, bare lines, icefall's recogs files, and CTM.

Kaldi's lines and bare lines look alike. They are told apart by the first words of the lines: ids in any script end in a
number (`lec-1`, `第一講-0001`, `utt0007`), and the same ids are in reference and hypothesis.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse_prep.alignment.ctm import is_comment, is_ctm_line, read_ctm
from lhotse_prep.text.normalize import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text
from ml2021.scoring.counts import lecture_of

FORMATS = ("auto", "kaldi", "bare", "recogs", "ctm")
_RECOGS_LINE = re.compile(r"(?P<id>.+):\t(?P<side>ref|hyp)=(?P<tokens>\[.*\])")
_BLANKS = re.compile(r"[ \t]+")  # an id may contain other spaces, such as that of Chinese
_NUMBERED_ID = re.compile(
    r"(?=.*[^\W\d_]).*(?:[-_.:/#]\d+|\d{3,}|0\d+)[a-z]*"  # a letter, and a number at the end
    r"|\d+(?:[-_]\d+)*[-_](?:0\d*|\d{3,})[a-z]*"  # 1089-134686-0000
    r"|0\d+"
)


def read_texts(path: Path, side: str, file_format: str = "auto") -> dict[str, str]:
    """Read {id: text} in the order of the file.

    Args:
      path: the file.
      side: "ref" or "hyp": which side of a recogs file to read.
      file_format: one of FORMATS; auto guesses it from this file alone (see formats_of for a safer way). Bare lines get
        their numbers as ids: "1", "2", ...; a blank line is an empty text.
    Raises:
      DataError: the file does not exist, repeats an id, or has a damaged line.
    """
    lines = _lines(path)
    readers: dict[str, Callable[[Path, Sequence[str], str], dict[str, str]]]
    readers = {"kaldi": _read_kaldi, "bare": _read_bare, "recogs": _read_recogs, "ctm": _read_ctm}
    file_format = format_of(lines) if file_format == "auto" else file_format
    return readers[file_format](path, lines if file_format == "bare" else [x for x in lines if x.strip()], side)


def format_of(lines: Sequence[str]) -> str:
    """Guess the format of a file from its lines.

    Plain text is bare (without ids) if most first words do not look like ids, and the first word of a line has a
    Chinese character or most first words are repeated.
    """
    first_words = _first_words(lines)
    if (marked := _marked_format(lines)) is not None:
        return marked
    if _look_like_ids(first_words):
        return "kaldi"
    has_han = any(is_han(c) for word in first_words for c in word)
    return "bare" if has_han or len(set(first_words)) < len(first_words) / 2 else "kaldi"


def formats_of(ref: Path, hyps: Sequence[Path]) -> list[str]:
    """The formats of a reference and of hypotheses for it, decided by all of these files together.

    Returns:
      The format of the reference, then that of each hypothesis.
    Raises:
      DataError: a file does not exist, or plain text could be read in two ways, or in none.
    """
    paths = [ref, *hyps]
    files = [_lines(path) for path in paths]
    marked = [_marked_format(lines) for lines in files]
    if None not in marked or any(marked):  # files with ids, so that plain text must have ids too
        return [file_format or "kaldi" for file_format in marked]
    first_words = [_first_words(lines) for lines in files]
    if any(map(_look_like_ids, first_words)):
        return ["kaldi"] * len(paths)
    remedy = (
        "say what they are: --format kaldi if each line is an id and its text, --format bare if the lines have no ids "
        "and line N of the hypothesis belongs to line N of the reference"
    )
    names = f"{ref} and {', '.join(map(str, hyps))}"
    have_same_length = len({len(lines) for lines in files}) == 1
    if all(_may_be_ids(first_words[0], words) for words in first_words[1:]) and _has_second_words(files[0]):
        if not have_same_length:
            return ["kaldi"] * len(paths)
        raise DataError(
            f"{names}: the first words of the lines ({', '.join(first_words[0][:3])}, ...) may be ids or text; {remedy}"
        )
    if not have_same_length:
        counts = ", ".join(str(len(lines)) for lines in files)
        raise DataError(f"{names} have {counts} lines, and these do not begin with the same ids; {remedy}")
    return ["bare"] * len(paths)


def _lines(path: Path) -> list[str]:
    content = read_text(path)
    if content is None:
        raise DataError(f"no such file: {path}")
    return content.replace("\r\n", "\n").removesuffix("\n").split("\n") if content else []


def _marked_format(lines: Sequence[str]) -> str | None:
    """recogs or ctm, which their lines show; None for plain text."""
    lines = [line for line in lines if line.strip()]
    if lines and _RECOGS_LINE.fullmatch(lines[0]):
        return "recogs"
    words = [line for line in lines if not is_comment(line)]
    return "ctm" if words and all(map(is_ctm_line, words)) else None


def _first_words(lines: Sequence[str]) -> list[str]:
    return [_BLANKS.split(line.strip(), maxsplit=1)[0] for line in lines if line.strip()]


def _look_like_ids(first_words: Sequence[str]) -> bool:
    """Whether most of them end in a number like ids; damaged lines should not make the others text."""
    return sum(_NUMBERED_ID.fullmatch(word) is not None for word in first_words) > len(first_words) / 2


def _may_be_ids(ref_words: Sequence[str], hyp_words: Sequence[str]) -> bool:
    """Whether first words are unique and the same on both sides, or those of the hypothesis are the lectures."""
    is_unique = all(len(set(words)) == len(words) for words in (ref_words, hyp_words))
    return is_unique and set(hyp_words) in (set(ref_words), {lecture_of(word) for word in ref_words})


def _has_second_words(lines: Sequence[str]) -> bool:
    """False for Chinese text without spaces, for example: ids alone are not a reference."""
    return any(len(_BLANKS.split(line.strip())) > 1 for line in lines)


def _read_kaldi(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line in lines:
        utterance_id, text = (_BLANKS.split(line.strip(), maxsplit=1) + [""])[:2]
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
