"""Conversion of recognised words between Simplified and Traditional Chinese with OpenCC; words keep their times.

OpenCC converts phrase by phrase, and a phrase may change its length (程序员 becomes 程式設計師). Characters of such a
phrase share the time of the characters that it replaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import groupby

import numpy as np

from lhotse_prep.text.chinese_script import converter
from lhotse_prep.text.normalize import normalize_transcript, remove_han_spaces
from lhotse_prep.workflow.strict_config import require
from ml2021.asr.words.timed_word import TimedWord

SCRIPTS = (
    *("s2t", "s2tw", "s2twp", "s2hk", "s2hkp", "t2s", "tw2s", "tw2sp", "hk2s", "hk2sp"),
    *("t2tw", "t2hk", "tw2t", "hk2t", "t2jp", "jp2t"),
)
_LONGEST_PHRASE = 16  # characters of OpenCC's dictionaries at most
_PAUSE = 1.0  # seconds; no phrase goes on after a longer one


def require_script(script: str) -> None:
    """Raise ConfigError if it is neither empty nor a conversion of OpenCC."""
    require(
        script in ("", *SCRIPTS),
        f"script must be one of OpenCC's conversions {', '.join(SCRIPTS)}, or empty for none, got {script!r}",
    )


def convert_script(words: Sequence[TimedWord], script: str) -> list[TimedWord]:
    """Words in another script.

    Characters that stay as they are, or change one by one, keep their times. If a phrase changes its length, the
    characters in which it differs share the time from the first to the last that they replace, and have no tokens.

    Args:
      words: of a recording in order of time; Han characters one by one. Other words are not changed.
      script: a name of SCRIPTS, such as s2twp; empty: no change.
    Raises:
      ConfigError: another name.
    """
    require_script(script)
    if not script:
        return list(words)
    converted: list[TimedWord] = []
    for run in _runs(words):
        if not _is_han(run[0].text):
            converted += run
            continue
        begin = 0
        for end, text in _phrases("".join(w.text for w in run), script):
            converted += _converted(run[begin:end], normalize_transcript(text).split())
            begin = end
    return converted


def convert_text(text: str, script: str) -> str:
    """Normalised text in another script; see convert_script."""
    require_script(script)
    if not script or not text:
        return text
    return normalize_transcript(_convert(remove_han_spaces(text), script))


def _is_han(text: str) -> bool:
    return len(text) == 1 and remove_han_spaces(f"{text} {text}") == 2 * text


def _runs(words: Sequence[TimedWord]) -> Iterator[list[TimedWord]]:
    """Words in groups: neighbouring Han characters without a long pause, and words that are no Han character."""
    groups = np.cumsum(
        [0, *(_is_han(a.text) != _is_han(b.text) or b.start - a.end > _PAUSE for a, b in zip(words, words[1:]))]
    )
    for _, run in groupby(zip(groups, words), key=lambda pair: pair[0]):
        yield [word for _, word in run]


def _phrases(text: str, script: str) -> Iterator[tuple[int, str]]:
    """Cut a text where OpenCC converts both sides as it converts them together: the end of each piece, converted."""
    begin = 0
    while begin < len(text):
        for end in range(begin + 1, len(text) + 1):
            piece, rest = _convert(text[begin:end], script), text[end : end + _LONGEST_PHRASE]
            if piece + _convert(rest, script) == _convert(text[begin:end] + rest, script):
                break
        yield end, piece
        begin = end


@cache
def _character(character: str, script: str) -> str:
    converted: str = converter(script).convert(character)
    return converted


def _convert(text: str, script: str) -> str:
    if len(text) < 2:
        return _character(text, script) if text else ""
    converted: str = converter(script).convert(text)
    return converted


def _converted(source: Sequence[TimedWord], texts: Sequence[str]) -> list[TimedWord]:
    """The words of a phrase with new texts."""
    if len(source) == len(texts):
        return [w if w.text == text else replace(w, text=text) for w, text in zip(source, texts)]
    head = _num_equal([w.text for w in source], texts)
    tail = _num_equal([w.text for w in source[head:]][::-1], texts[head:][::-1])
    if head + tail == len(source) > 0:  # nothing goes, so what comes shares the time of a neighbour
        head, tail = (head - 1, tail) if head else (head, tail - 1)
    changed, new = source[head : len(source) - tail], texts[head : len(texts) - tail]
    times = np.linspace(changed[0].start, changed[-1].end, len(new) + 1).tolist()
    score = float(np.mean([w.score for w in changed]))
    middle = [TimedWord(text, start, end, score) for text, start, end in zip(new, times, times[1:])]
    return [*source[:head], *middle, *source[len(source) - tail :]]


def _num_equal(a: Sequence[str], b: Sequence[str]) -> int:
    """How many texts are equal at the beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
