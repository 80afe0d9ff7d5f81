"""Words with times from any recogniser, read from CTM files or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.ctm import parse_seconds, read_ctm
from lhotse_prep.text.normalize import is_han, normalize_transcript
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl

_LONGEST_TOKEN = 0.5  # seconds, of a token that has a start only
_TimedText = tuple[float, float, str]  # start and end in seconds, text


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser wrote for one recording, as units of normalised text."""

    words: list[str]
    start: NDArray[np.float64]  # (W,) seconds, ascending
    end: NDArray[np.float64]  # (W,) seconds


def read_hypotheses(path: Path) -> dict[str, Hypothesis]:
    """Read a .ctm or .jsonl file, or all such files of a folder; the result is by recording.

    CTM lines are `recording channel start duration word [confidence]`. A JSON line has "id", that of the recording, and
    either "words", a list of {"text", "start", "end"}, or "tokens" and "timestamps" (starts), as sherpa-onnx writes.

    Raises:
      DataError: no such file, a line in neither form, or a time that is not a number of seconds >= 0.
    """
    files = sorted(p for p in path.iterdir() if p.suffix in (".ctm", ".jsonl")) if path.is_dir() else [path]
    if not files or not all(p.is_file() for p in files):
        raise DataError(f"no .ctm or .jsonl file at {path}")
    timed: dict[str, list[_TimedText]] = {}
    for file in files:
        for recording, words in _ctm_words(file) if file.suffix == ".ctm" else _json_lines(file):
            timed.setdefault(recording, []).extend(words)
    return {recording: _hypothesis(words) for recording, words in timed.items()}


def _hypothesis(timed: Sequence[_TimedText]) -> Hypothesis:
    """Sort by time; where normalisation splits a word, the parts share its time evenly."""
    words: list[str] = []
    spans: list[tuple[float, float]] = []
    for start, end, text in sorted(timed, key=lambda x: x[0]):
        parts = normalize_transcript(text).split()
        edges = np.linspace(start, end, len(parts) + 1)
        words += parts
        spans += zip(edges[:-1].tolist(), edges[1:].tolist())
    times = np.array(spans, dtype=np.float64).reshape(-1, 2)
    return Hypothesis(words, np.maximum.accumulate(times[:, 0]), times[:, 1])


def _ctm_words(path: Path) -> Iterable[tuple[str, list[_TimedText]]]:
    for w in read_ctm(path):
        yield w.recording, [(w.start, w.start + w.duration, w.word)]


def _json_lines(path: Path) -> Iterable[tuple[str, list[_TimedText]]]:
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, line {number}"
        if (
            not isinstance(row, dict)
            or "id" not in row
            or not ("words" in row or {"tokens", "timestamps"} <= row.keys())
        ):
            raise DataError(f'{where}: expected "id" and "words", or "id", "tokens" and "timestamps"')
        yield str(row["id"]), _json_words(row, where) if "words" in row else _json_tokens(row, where)


def _json_words(row: dict[str, Any], where: str) -> list[_TimedText]:
    try:
        return [
            (parse_seconds(w["start"], where), parse_seconds(w["end"], where), str(w["text"])) for w in row["words"]
        ]
    except (KeyError, TypeError) as e:
        raise DataError(f'{where}: each of "words" needs "text", "start" and "end" ({json.dumps(row)[:80]})') from e


def _json_tokens(row: dict[str, Any], where: str) -> list[_TimedText]:
    """Join pieces of words: a piece belongs to the last word unless it begins with a space or is a Han character."""
    tokens, starts = row["tokens"], [parse_seconds(x, where) for x in row["timestamps"]]
    if len(tokens) != len(starts):
        raise DataError(f"{where}: {len(tokens)} tokens and {len(starts)} timestamps")
    words: list[_TimedText] = []
    open_word = False
    for i, (token, start) in enumerate(zip(tokens, starts)):
        end = min(start + _LONGEST_TOKEN, max(start, starts[i + 1])) if i + 1 < len(starts) else start + _LONGEST_TOKEN
        text = str(token).replace("▁", " ")
        if open_word and not text.startswith(" ") and not is_han(text):
            words[-1] = (words[-1][0], end, words[-1][2] + text)
        else:
            words.append((start, end, text.strip()))
        open_word = not is_han(text.strip())
    return words
