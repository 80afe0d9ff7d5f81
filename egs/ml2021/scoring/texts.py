"""Transcripts of any system as {id: text}: Kaldi's `id text` lines, bare lines, icefall's recogs files, CTM, STM, TRN.

Kaldi's lines and bare lines look alike. They are told apart by the first words of the lines: ids in any script end in a
number (`lec-1`, `第一講-0001`, `utt0007`), and the same ids are in reference and hypothesis.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from lhotse_prep.alignment.ctm import is_comment, is_ctm_line, read_ctm
from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text
from ml2021.scoring.lecture_ids import utterances_by_lecture

FORMATS = ("auto", "kaldi", "bare", "recogs", "ctm", "stm", "trn")
_RECOGS_LINE = re.compile(r"(?P<id>.+):\t(?P<side>ref|hyp)=(?P<tokens>\[.*\])")
_NUMBER = r"\d+(?:\.\d*)?"
_STM_LINE = re.compile(  # recording, channel, speaker, start, end, labels, text
    rf"(?P<id>\S+)\s+\S+\s+\S+\s+(?P<start>{_NUMBER})\s+(?P<end>{_NUMBER})(?:\s+<\S*>)?(?:\s+(?P<text>.*?))?\s*"
)
_TRN_LINE = re.compile(r"(?P<text>.*?)\s*\((?P<id>[^()\s]*\d[^()\s]*)\)\s*")
_OTHER_FORMATS = (  # what a first line may look like, and the name of its format
    (re.compile(r"[{\[]\s*[\"{\[].*"), "JSON"),
    (re.compile(r"WEBVTT.*"), "WebVTT subtitles"),
    (re.compile(r"1|\d+:\d\d:\d\d.*-->.*"), "subtitles"),
    (re.compile(r"<\?xml.*|<[a-z]+>.*", re.IGNORECASE), "XML"),
    (re.compile(r'File type = "ooTextFile".*'), "TextGrid"),
)
_BLANKS = re.compile(r"[ \t]+")  # an id may contain other spaces, such as that of Chinese
_NUMBERED_ID = re.compile(
    r"(?=.*[^\W\d_]).*(?:[-_.:/#]\d+|\d{3,}|0\d+)[-_]?[a-z]*"  # a letter, and a number at the end
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
    readers = {
        "kaldi": _read_kaldi,
        "bare": _read_bare,
        "recogs": _read_recogs,
        "ctm": _read_ctm,
        "stm": _read_stm,
        "trn": _read_trn,
    }
    if file_format == "auto":
        _check_readable(path, lines)
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
    for path, lines in zip(paths, files):
        _check_readable(path, lines)
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
    return content.removesuffix("\n").split("\n") if content else []


def _marked_format(lines: Sequence[str]) -> str | None:
    """recogs, ctm, stm or trn, which their lines show; None for plain text."""
    lines = [line for line in lines if line.strip()]
    if lines and _RECOGS_LINE.fullmatch(lines[0]):
        return "recogs"
    words = [line for line in lines if not is_comment(line)]
    if not words:
        return None
    if all(map(is_ctm_line, words)):
        return "ctm"
    if all(map(_STM_LINE.fullmatch, words)):
        return "stm"
    return "trn" if all(map(_TRN_LINE.fullmatch, words)) else None


def _check_readable(path: Path, lines: Sequence[str]) -> None:
    """Raise DataError if lines that would be taken for plain text show another format, or ids that plain text lacks."""
    lines = [line.strip() for line in lines if line.strip()]
    if not lines or _marked_format(lines) is not None:
        return
    for pattern, name in _OTHER_FORMATS:
        if pattern.fullmatch(lines[0]) and (name != "subtitles" or any("-->" in line for line in lines[:3])):
            raise DataError(f"{path} is {name}; give plain text, CTM, STM, TRN, or a recogs file")
    ids = [re.split(r"[,;|]", line, maxsplit=1)[0] for line in lines if re.match(r"[^\s,;|]+[,;|]", line)]
    if len(ids) > len(lines) / 2 and _look_like_ids(ids):
        raise DataError(f"{path}: a comma, semicolon or bar follows the ids ({ids[0]}); put a space there")
    for place in range(1, 4) if not _look_like_ids(_first_words(lines)) else ():
        starts = [line.split(" ")[: place + 1] for line in lines]
        names = {tuple(words[:-1]) for words in starts}
        if len(names) <= len(lines) / 2 and _look_like_ids([w[-1] if len(w) > place else "" for w in starts]):
            raise DataError(f"{path}: ids with spaces ({' '.join(starts[0])}); write them without, such as with _")


def _first_words(lines: Sequence[str]) -> list[str]:
    return [_id(_BLANKS.split(line.strip(), maxsplit=1)[0]) for line in lines if line.strip()]


def _look_like_ids(first_words: Sequence[str]) -> bool:
    """Whether most of them end in a number like ids; damaged lines should not make the others text."""
    return sum(_NUMBERED_ID.fullmatch(word) is not None for word in first_words) > len(first_words) / 2


def _may_be_ids(ref_words: Sequence[str], hyp_words: Sequence[str]) -> bool:
    """Whether first words are unique and the same on both sides, or those of the hypothesis are the lectures."""
    is_unique = all(len(set(words)) == len(words) for words in (ref_words, hyp_words))
    return is_unique and (
        set(hyp_words) == set(ref_words) or utterances_by_lecture(ref_words, set(hyp_words)) is not None
    )


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
        except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: nested too deeply
            tokens = None
        if match is None or not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise DataError(f"{path}: not a line of a recogs file: {line[:80]!r}")
        if match["side"] == side:
            _add(path, texts, match["id"], " ".join(tokens))
    return texts


def _read_ctm(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    words = read_ctm(path)
    texts: dict[str, list[str]] = {}
    for w in sorted(words, key=lambda w: w.start):
        texts.setdefault(_id(w.recording), []).append(w.word)
    return {recording: " ".join(text) for recording, text in texts.items()}


def _read_stm(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    """The text of each recording, in order of time."""
    segments: dict[str, list[tuple[float, str]]] = {}
    for line in lines:
        if is_comment(line):
            continue
        match = _STM_LINE.fullmatch(line)
        if match is None or float(match["end"]) < float(match["start"]):
            raise DataError(f"{path}: not 'recording channel speaker start end <labels> text': {line[:80]!r}")
        if (match["text"] or "").lower() == "ignore_time_segment_in_scoring":
            raise DataError(
                f"{path}: ignore_time_segment_in_scoring is not supported: leave these times out on both sides "
                f"({line[:80]!r})"
            )
        segments.setdefault(_id(match["id"]), []).append((float(match["start"]), match["text"] or ""))
    return {i: " ".join(text for _, text in sorted(rows, key=lambda row: row[0])) for i, rows in segments.items()}


def _read_trn(path: Path, lines: Sequence[str], side: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line in lines:
        match = _TRN_LINE.fullmatch(line)
        if match is None:
            raise DataError(f"{path}: not 'text (id)': {line[:80]!r}")
        _add(path, texts, match["id"], match["text"])
    return texts


def _id(text: str) -> str:
    """An id in NFC: macOS writes names in NFD."""
    return unicodedata.normalize("NFC", text)


def _add(path: Path, texts: dict[str, str], utterance_id: str, text: str) -> None:
    utterance_id = _id(utterance_id)
    if utterance_id in texts:
        raise DataError(
            f"{path}: utterance {utterance_id} occurs twice; keep one of them (or use --format bare if the lines "
            "have no ids)"
        )
    texts[utterance_id] = text
