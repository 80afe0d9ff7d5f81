"""Toneless pinyin: the syllable of a Han character, and the initial and final of each character of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pypinyin import Style, lazy_pinyin


def syllable(character: str) -> str:
    """The toneless pinyin of a Han character in its most frequent reading, or the character if pypinyin has none."""
    return _pinyin(character, Style.NORMAL)[0] or character


def initials_and_finals(characters: str) -> list[tuple[str, str]]:
    """The toneless initial and final of each Han character of a run.

    Args:
      characters: Han characters without spaces; the neighbours decide the reading where a character has several.
    Returns:
      One (initial, final) per character, such as ("m", "a"); either may be empty, and both are if it has no reading.
    """
    initials = _pinyin(characters, Style.INITIALS, strict=False)
    finals = _pinyin(characters, Style.FINALS, strict=False)
    return list(zip(initials, finals, strict=True))


def _pinyin(characters: str, style: Style, strict: bool = True) -> list[str]:
    """One string per character, empty if it has no reading; without `strict`, y and w count as initials."""
    # pypinyin's types allow no list here, though its documentation does
    errors = cast("Callable[[str], str]", _no_reading)
    return lazy_pinyin(characters, style, errors, strict=strict)


def _no_reading(characters: str) -> list[str]:
    """An empty string for each character: pypinyin passes neighbouring characters without a reading together."""
    return [""] * len(characters)
