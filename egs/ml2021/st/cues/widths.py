"""How wide a text is and how long it takes to read. Text is cut only between units.

A unit is a wide (CJK) character or a Latin word, with the space before it.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from ml2021.st.cues.config import SubtitleConfig


def width(text: str, config: SubtitleConfig) -> float:
    """The width of a text, in Latin characters."""
    wide = num_wide(text)
    return len(text) - wide + wide * config.max_latin / config.max_cjk


def reading_time(text: str, config: SubtitleConfig) -> float:
    """Seconds that a viewer needs for a text."""
    wide = num_wide(text)
    return wide / config.cjk_reading_speed + (len(text) - wide) / config.reading_speed


def num_wide(text: str) -> int:
    """The number of wide (CJK) characters of a text."""
    return 0 if text.isascii() else sum(map(_is_wide, text))


def split_units(text: str, config: SubtitleConfig) -> list[str]:
    """The units of a text, none wider than a line; runs of white space count as one space."""
    units: list[str] = []
    for piece in text.split():
        begin = len(units)
        for c in piece:
            continues = len(units) > begin and not _is_wide(c) and not _is_wide(units[-1][-1])
            if continues and len(units[-1]) < config.max_latin:
                units[-1] += c
            else:
                units.append(c)
        if begin:
            units[begin] = " " + units[begin]
    return units


@cache
def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"
