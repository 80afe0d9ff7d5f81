"""Time-stamped words of any recogniser, from CTM files or JSON lines; and our own alignment as CTM (NIST's format)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import SupervisionSegment
from numpy.typing import NDArray

from lhotse_prep.text.normalize import is_han, normalize_transcript
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_jsonl, read_text, write_text

_LONGEST_TOKEN = 0.5  # seconds, of a token that has a start only


@dataclass(frozen=True)
class Hypothesis:
    """What a recogniser heard in one recording, as units of normalised text."""

    words: list[str]
    start: NDArray[np.float64]  # (W,) seconds, ascending
    end: NDArray[np.float64]  # (W,) seconds


def read_hypotheses(path: Path) -> dict[str, Hypothesis]:
    """Read a .ctm or .jsonl file, or all of a folder's.

    CTM lines are `recording channel start duration word [confidence]`. A JSON line has "id", the recording's, and
    either "words", a list of {"text", "start", "end"}, or as sherpa-onnx gives them "tokens" and "timestamps" (starts).

    Raises:
      DataError: no such file, a line that is neither, a time that is not one.
    """
    files = sorted(p for p in path.iterdir() if p.suffix in (".ctm", ".jsonl")) if path.is_dir() else [path]
    if not files or not all(p.is_file() for p in files):
        raise DataError(f"no .ctm or .jsonl file at {path}")
    timed: dict[str, list[tuple[float, float, str]]] = {}
    for file in files:
        for recording, words in _ctm_lines(file) if file.suffix == ".ctm" else _json_lines(file):
            timed.setdefault(recording, []).extend(words)
    return {recording: _hypothesis(words) for recording, words in timed.items()}


def write_ctm(path: Path, stretches: Iterable[SupervisionSegment]) -> None:
    """Write the words of aligned supervisions."""
    lines = [
        f"{s.recording_id} 1 {item.start:.3f} {item.duration:.3f} {item.symbol} {item.score or 0:.3f}\n"
        for s in stretches
        for item in (s.alignment or {}).get("word", [])
    ]
    write_text(path, "".join(lines))


def _hypothesis(timed: Sequence[tuple[float, float, str]]) -> Hypothesis:
    """In order of time; a word that normalisation parts shares its time out."""
    words: list[str] = []
    spans: list[tuple[float, float]] = []
    for start, end, text in sorted(timed, key=lambda x: x[0]):
        parts = normalize_transcript(text).split()
        edges = np.linspace(start, end, len(parts) + 1)
        words += parts
        spans += zip(edges[:-1].tolist(), edges[1:].tolist())
    times = np.array(spans, dtype=np.float64).reshape(-1, 2)
    return Hypothesis(words, np.maximum.accumulate(times[:, 0]), times[:, 1])


def _ctm_lines(path: Path) -> Iterable[tuple[str, list[tuple[float, float, str]]]]:
    for number, line in enumerate((read_text(path) or "").split("\n"), 1):
        fields = line.split()
        if not fields or line.startswith(";;"):
            continue
        if len(fields) < 5:
            raise DataError(f"{path}, line {number}: expected 'recording channel start duration word', got {line!r}")
        start, duration = (_seconds(x, f"{path}, line {number}") for x in fields[2:4])
        yield fields[0], [(start, start + duration, fields[4])]


def _json_lines(path: Path) -> Iterable[tuple[str, list[tuple[float, float, str]]]]:
    for number, row in enumerate(read_jsonl(path), 1):
        where = f"{path}, line {number}"
        if (
            not isinstance(row, dict)
            or "id" not in row
            or not ("words" in row or {"tokens", "timestamps"} <= row.keys())
        ):
            raise DataError(f'{where}: expected "id" and "words", or "id", "tokens" and "timestamps"')
        yield str(row["id"]), _json_words(row, where) if "words" in row else _json_tokens(row, where)


def _json_words(row: dict[str, Any], where: str) -> list[tuple[float, float, str]]:
    try:
        return [(_seconds(w["start"], where), _seconds(w["end"], where), str(w["text"])) for w in row["words"]]
    except (KeyError, TypeError) as e:
        raise DataError(f'{where}: each of "words" needs "text", "start" and "end" ({json.dumps(row)[:80]})') from e


def _json_tokens(row: dict[str, Any], where: str) -> list[tuple[float, float, str]]:
    """Pieces of words are joined: one that neither begins with a space nor is a Han character goes on the last."""
    tokens, starts = row["tokens"], [_seconds(x, where) for x in row["timestamps"]]
    if len(tokens) != len(starts):
        raise DataError(f"{where}: {len(tokens)} tokens and {len(starts)} timestamps")
    words: list[tuple[float, float, str]] = []
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


def _seconds(value: Any, where: str) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not (np.isfinite(seconds) and seconds >= 0):
        raise DataError(f"{where}: {value!r} is no time in seconds")
    return seconds
