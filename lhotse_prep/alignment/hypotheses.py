"""Words with times from any recogniser, read from CTM files or JSON lines."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.ctm import as_seconds, iterate_ctm, unescaped
from lhotse_prep.manifests.grouped import Spill
from lhotse_prep.text.characters import is_han
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import DataError, list_names
from lhotse_prep.workflow.files import iterate_jsonl

logger = logging.getLogger(__name__)
_AUDIO = ("wav", "flac", "mp3", "m4a", "mp4", "mkv", "webm", "ogg", "opus", "aac")
_LONGEST_TOKEN = 0.5  # seconds, of a token that has a start only
_TimedText = tuple[float, float, str]  # start and end in seconds, text
_GOES_BACK = 1.0  # seconds
_MOST_BACK = 0.1  # of all words that may start this much before the word above
_FEW = 20  # words of a recording in which any disorder is possible


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser wrote for one recording, as units of normalised text."""

    words: list[str]
    start: NDArray[np.float64]  # (W,) seconds, ascending
    end: NDArray[np.float64]  # (W,) seconds


class StoredHypotheses(Mapping[str, Hypothesis]):
    """Hypotheses by recording, one of which is in memory at a time; the others are in a temporary file."""

    def __init__(self, hypotheses: Iterable[tuple[str, Hypothesis]]) -> None:
        self._spill: Spill[Hypothesis] = Spill()
        self._places = {recording: self._spill.add(hypothesis) for recording, hypothesis in hypotheses}

    def __getitem__(self, recording: str) -> Hypothesis:
        return self._spill.at(self._places[recording])

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_hypotheses(path: Path) -> StoredHypotheses:
    """Read a .ctm or .jsonl file, or all such files of a folder; the result is by recording.

    CTM lines are `recording channel start duration word [confidence]`. A JSON line has "id", that of the recording, and
    either "words", a list of {"text", "start", "end"}, or "tokens" and "timestamps" (starts), as sherpa-onnx writes.

    Raises:
      DataError: no such file, a line in neither form, a time that is not a number of seconds >= 0; or words of a
        recording that all last 0 s, or whose order is not that of their times.
    """
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in (".ctm", ".jsonl")) if path.is_dir() else [path]
    if not files or not all(p.is_file() for p in files):
        raise DataError(f"no .ctm or .jsonl file at {path}")
    timed: Spill[list[_TimedText]] = Spill()
    places: dict[str, list[int]] = {}  # of each recording's words
    for file in files:
        for recording, words in _ctm_words(file) if file.suffix.lower() == ".ctm" else _json_lines(file):
            places.setdefault(recording, []).append(timed.add(words))
    return StoredHypotheses(
        (recording, _hypothesis([w for p in of_recording for w in timed.at(p)], f"{path}: recording {recording}"))
        for recording, of_recording in places.items()
    )


def of_recordings(
    hypotheses: Mapping[str, Hypothesis], recordings: Sequence[str], no_words: Callable[[Sequence[str]], str]
) -> dict[str, Hypothesis]:
    """The hypothesis of each recording; see names_of_recordings."""
    return {x: hypotheses[name] for x, name in names_of_recordings(hypotheses, recordings, no_words).items()}


def names_of_recordings(
    hypotheses: Iterable[str], recordings: Sequence[str], no_words: Callable[[Sequence[str]], str]
) -> dict[str, str]:
    """How a file names each recording: names may differ in Unicode's form, in a folder or in a suffix of audio.

    Args:
      hypotheses: recordings, as a file names them; those that are not asked for are named in the log.
      recordings: their names.
      no_words: the message of the error about recordings that have no hypothesis.
    Raises:
      DataError: a recording has no hypothesis, or one that could be of several.
    """
    plain: dict[str, list[str]] = {}
    for name in hypotheses:
        plain.setdefault(_plain(name), []).append(name)
    exact = set(hypotheses)
    chosen = {name: [name] if name in exact else plain.get(_plain(name), []) for name in recordings}
    if missing := [name for name, names in chosen.items() if not names]:
        raise DataError(no_words(missing))
    used: dict[str, str] = {}  # {name in the file: recording}
    for name, names in chosen.items():
        if len(names) > 1 or used.setdefault(names[0], name) != name:
            others = ", ".join(names if len(names) > 1 else sorted({used[names[0]], name}))
            raise DataError(f"lecture {name}: it is not clear which of the words with times are its own ({others})")
    unused = [name for name in hypotheses if name not in used]
    if unused and used:
        shown = list_names(unused, most=5)
        logger.warning("words with times of %d recordings that are not among the lectures: %s", len(unused), shown)
    return {name: names[0] for name, names in chosen.items()}


def _plain(name: str) -> str:
    """A recording's name in NFC, without folder and suffix, and without codes for spaces."""
    stem, dot, suffix = re.split(r"[/\\]", unescaped(name))[-1].rpartition(".")
    return unicodedata.normalize("NFC", stem if dot and stem and suffix.lower() in _AUDIO else f"{stem}{dot}{suffix}")


def _hypothesis(timed: Sequence[_TimedText], where: str) -> Hypothesis:
    """Sort by time; where normalisation splits a word, the parts share its time evenly."""
    _check_order(timed, where)
    words: list[str] = []
    spans: list[tuple[float, float]] = []
    for start, end, text in sorted(timed, key=lambda x: x[0]):
        parts = normalize_transcript(text).split()
        edges = np.linspace(start, end, len(parts) + 1)
        words += parts
        spans += zip(edges[:-1].tolist(), edges[1:].tolist())
    times = np.array(spans, dtype=np.float64).reshape(-1, 2)
    return Hypothesis(words, np.maximum.accumulate(times[:, 0]), times[:, 1])


def _check_order(timed: Sequence[_TimedText], where: str) -> None:
    """Raise DataError if no word has a duration, or if words are not in the order of their times."""
    starts, ends = (np.array([x[i] for x in timed], dtype=np.float64) for i in range(2))
    if len(timed) > 1 and not (ends > starts).any():
        raise DataError(f"{where}: all of its {len(timed)} words last 0 s; their ends or durations are missing")
    if len(timed) < _FEW:
        return
    num_back = int((np.diff(starts) < -_GOES_BACK).sum())
    if num_back > _MOST_BACK * len(timed):
        raise DataError(
            f"{where}: {num_back} of its {len(timed)} words start more than {_GOES_BACK:g} s before the word above "
            "them; sort them by time, and count times from the beginning of the recording"
        )


def _ctm_words(path: Path) -> Iterable[tuple[str, list[_TimedText]]]:
    for recording, words in groupby(iterate_ctm(path), key=lambda w: w.recording):
        yield recording, [(w.start, w.start + w.duration, w.word) for w in words]


def _json_lines(path: Path) -> Iterable[tuple[str, list[_TimedText]]]:
    for number, row in enumerate(iterate_jsonl(path), 1):
        where = f"{path}, line {number}"
        if "id" not in row or not ("words" in row or {"tokens", "timestamps"} <= row.keys()):
            raise DataError(f'{where}: expected "id" and "words", or "id", "tokens" and "timestamps"')
        if not isinstance(row["id"], str):
            raise DataError(f'{where}: "id" must be a text, the name of the recording, and it is {row["id"]!r}')
        yield row["id"], _json_words(row, where) if "words" in row else _json_tokens(row, where)


def _json_words(row: dict[str, Any], where: str) -> list[_TimedText]:
    words: list[_TimedText] = []
    for word in _list_of(row, "words", dict, where):
        if not {"text", "start", "end"} <= word.keys() or not isinstance(word["text"], str):
            shown = json.dumps(word, ensure_ascii=False)[:80]
            raise DataError(f'{where}: each of "words" needs "text" (a text), "start" and "end" (seconds): {shown}')
        start, end = (as_seconds(word[key], f"{where}: {key} of {word['text']!r}") for key in ("start", "end"))
        if end < start:
            raise DataError(f"{where}: {word['text']!r} ends at {end:g} s, before it starts at {start:g} s")
        words.append((start, end, word["text"]))
    return words


def _json_tokens(row: dict[str, Any], where: str) -> list[_TimedText]:
    """Join pieces of words: a piece belongs to the last word unless it begins with a space or is a Han character."""
    tokens = _list_of(row, "tokens", str, where)
    starts = [as_seconds(x, where) for x in _list_of(row, "timestamps", object, where)]
    if len(tokens) != len(starts):
        raise DataError(f"{where}: {len(tokens)} tokens and {len(starts)} timestamps")
    words: list[_TimedText] = []
    open_word = False
    for i, (token, start) in enumerate(zip(tokens, starts)):
        end = min(start + _LONGEST_TOKEN, max(start, starts[i + 1])) if i + 1 < len(starts) else start + _LONGEST_TOKEN
        text = token.replace("▁", " ")
        if open_word and not text.startswith(" ") and not is_han(text):
            words[-1] = (words[-1][0], end, words[-1][2] + text)
        else:
            words.append((start, end, text.strip()))
        open_word = not is_han(text.strip())
    return words


def _list_of(row: dict[str, Any], key: str, kind: type, where: str) -> list[Any]:
    """A list in a row, whose items are of one type."""
    items = row[key]
    if not isinstance(items, list) or not all(isinstance(item, kind) for item in items):
        kinds = "objects" if kind is dict else "texts" if kind is str else "numbers"
        raise DataError(f'{where}: "{key}" must be a list of {kinds}, and it is {json.dumps(items)[:60]}')
    return items
