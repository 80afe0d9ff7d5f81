"""What is said in the cues of a subtitle file: no tags, no speakers' names, no sounds, no line that is shown twice."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Sequence

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<\d+:[\d:.]+>|\{\\[^{}]*\}|\{[biusYycCfFsSoP]:[^{}]*\}")
# [Music], (applause), 【音樂】, ♪ ... ♪: a sound, if nothing else is in the line
_SOUND = re.compile(r"[\[(（【〔［][^\])）】〕］]*[\])）】〕］]|[♪♫♬][^♪♫♬]*[♪♫♬]?")
_BRACKETED = re.compile(r"\[[^\[\]]*[A-Za-z一-鿿][^\[\]]*\]|【[^【】]*】")  # a sound or a name within a line
_TURN = re.compile(r"^\s*(?:[-–—]\s+|>>+\s*)+")  # of another speaker
_NAME = re.compile(r"^([A-Z][A-Z .'’-]{1,30}|[A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*){0,3}|[一-鿿]{1,6})\s*[:：]\s*")
_LEAST_TURNS = 3  # cues that begin with a name, before it is taken for one
_ROLLING = 0.3  # of the cues, whose first line repeats the last line of the cue before


def spoken_lines(cues: Sequence[str]) -> list[list[str]]:
    """The lines of each cue without what is not said; some cues have none.

    Args:
      cues: texts of a file, in order of time, as the file writes them (tags and entities included).
    """
    lines = [[_plain(line) for line in re.split(r"\r\n|\\[Nn]|[\r\n]", cue)] for cue in cues]
    lines = [[line for line in cue if line] for cue in lines]
    names = _names(lines)
    lines = [[text for line in cue if (text := _without_name(line, names))] for cue in lines]
    return _without_rolling(lines)


def _plain(line: str) -> str:
    text = html.unescape(_TAG.sub("", line))
    text = text.replace("\\h", " ").replace("\xa0", " ")
    if not _SOUND.sub("", _TURN.sub("", text)).strip(" .-–—♪♫♬"):
        return ""
    return " ".join(_BRACKETED.sub(" ", text).split())


def _names(lines: Sequence[Sequence[str]]) -> set[str]:
    """Speakers: names before a colon that begin several lines, or are in capitals."""
    counts = Counter(match[1] for cue in lines for line in cue if (match := _NAME.match(_TURN.sub("", line))))
    return {name for name, count in counts.items() if count >= _LEAST_TURNS or name.isupper() and len(name) > 2}


def _without_name(line: str, names: set[str]) -> str:
    text = _TURN.sub("", line)
    match = _NAME.match(text)
    return text[match.end() :] if match and match[1] in names else text


def _without_rolling(lines: list[list[str]]) -> list[list[str]]:
    """Without the lines that captions which roll up show again."""
    pairs = [(before, cue) for before, cue in zip(lines, lines[1:]) if before and cue]
    repeats = sum(cue[0] == before[-1] for before, cue in pairs)
    if not pairs or repeats < _ROLLING * len(pairs):
        return lines
    kept, last = [], ""
    for cue in lines:
        new = list(cue)
        while new and new[0] == last:
            new.pop(0)
        kept.append(new)
        last = cue[-1] if cue else last
    return kept
