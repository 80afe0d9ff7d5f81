"""Finds characters that do not belong in the texts: signs of a wrong encoding, stray marks, other scripts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lhotse_prep.text.characters import is_han

_ASCII = {chr(c) for c in range(0x21, 0x7F)}
_SIGNS = set("×÷±≤≥≠≈∞∑∏√∂∇∈∪∩→←⇒°·−’“”‘")
_CONTEXT = 10  # characters on each side of the example


@dataclass(frozen=True)
class OddCharacter:
    """A character outside the expected classes."""

    char: str
    code: str  # U+0416
    name: str  # in Unicode
    count: int  # in all texts
    id: str  # of the first text that contains it
    example: str  # the character in its context in that text


def is_expected(char: str) -> bool:
    """True for Han, ASCII, space, Greek letters, Latin letters with accents (ŷ) and common mathematical signs."""
    if is_han(char) or char in _ASCII or char in _SIGNS or char == " ":
        return True
    name = unicodedata.name(char, "")
    return name.startswith(("GREEK SMALL LETTER", "GREEK CAPITAL LETTER", "LATIN SMALL LETTER", "LATIN CAPITAL LETTER"))


def odd_characters(texts: Iterable[tuple[str, str]]) -> list[OddCharacter]:
    """
    Args:
      texts: (id, normalised text).
    Returns:
      Every character that is not expected, with its first example, the most frequent first.
    """
    return _count(texts, is_expected)


def encoding_errors(texts: Iterable[tuple[str, str]]) -> list[OddCharacter]:
    """
    Args:
      texts: (id, text before normalisation, which leaves these characters out).
    Returns:
      Every character that a wrong encoding leaves behind: U+FFFD, controls, lone surrogates, noncharacters.
    """
    return _count(texts, _is_intact)


def _is_intact(char: str) -> bool:
    if char.isspace() or char.isascii() and char.isprintable():
        return True
    is_noncharacter = ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF
    return not is_noncharacter and char != "\ufffd" and unicodedata.category(char) not in ("Cc", "Cs")


def _count(texts: Iterable[tuple[str, str]], is_right: Callable[[str], bool]) -> list[OddCharacter]:
    counts: dict[str, int] = {}
    examples: dict[str, tuple[str, str]] = {}
    for text_id, text in texts:
        for char in set(text):
            if is_right(char):
                continue
            counts[char] = counts.get(char, 0) + text.count(char)
            if char not in examples:
                index = text.index(char)
                examples[char] = (text_id, text[max(0, index - _CONTEXT) : index + _CONTEXT + 1])
    return [
        OddCharacter(c, f"U+{ord(c):04X}", unicodedata.name(c, "unnamed"), n, *examples[c])
        for c, n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))
    ]
