"""Reads files of hotwords: terms that a recogniser should expect, one a line.

A term may be followed by its score, such as `:2.5`: a bonus for recognisers that search with scores.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text

_LINE = re.compile(r"(?P<term>.*?)(?:\s+:(?P<score>\S+))?\s*")
_MISPLACED_SCORE = re.compile(r"(?<!\d)[:：]\s*[-+.]?\d")  # but not 10:30


class Term(NamedTuple):
    """A term of a file of hotwords."""

    written: str  # as in the file, with single spaces
    text: str  # normalised, not empty
    score: float | None  # finite; None without one
    where: str  # the file and the line, for messages


def read_terms(path: Path) -> list[Term]:
    """The terms of a file in its order; lines without letters, digits or symbols that are said are skipped.

    Raises:
      DataError: the file is missing, has no terms or is not UTF-8; a score is misplaced or not finite.
    """
    content = read_text(path)
    if content is None:
        raise DataError(f"no hotwords file {path}: name a file with one term per line")
    terms = []
    for number, line in enumerate(content.split("\n"), 1):
        match = _LINE.fullmatch(line)
        assert match is not None
        where = f"{path}, line {number}"
        text = normalize_transcript(match["term"])
        if not text:
            continue
        if _MISPLACED_SCORE.search(match["term"]):
            raise DataError(
                f"{where}: {line.strip()!r} seems to have a score that would be read as a part of the term: write it "
                "at the end, after a space, with an ASCII colon, such as :2.5"
            )
        score = None if match["score"] is None else _score(match["score"], where)
        terms.append(Term(" ".join(match["term"].split()), text, score, where))
    if not terms:
        raise DataError(f"{path} has no hotwords: write one term per line")
    return terms


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise DataError(f"{where}: the score {text!r} is not a finite number; write one such as :2.5, or none")
    return score
