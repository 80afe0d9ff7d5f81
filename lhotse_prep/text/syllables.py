"""Toneless pinyin: the syllable of a Han character, and the initials and finals of a run of them."""

from __future__ import annotations

from pypinyin import Style, lazy_pinyin


def syllable(character: str) -> str:
    """The toneless pinyin of one Han character by its most frequent reading, or the character where none is known."""
    return lazy_pinyin(character, Style.NORMAL, _no_reading)[0] or character  # type: ignore[arg-type]


def _no_reading(characters: str) -> list[str]:
    """One item for each of some characters that pypinyin does not know; it hands them over together."""
    return [""] * len(characters)
