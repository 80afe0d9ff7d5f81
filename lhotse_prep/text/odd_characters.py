"""Which characters of the texts are outside the expected classes: mistakes of encoding, stray marks, other scripts."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from lhotse_prep.text.normalize import is_han

_ASCII = {chr(c) for c in range(0x21, 0x7F)}
_SIGNS = set("×÷±≤≥≠≈∞∑∏√∂∇∈∪∩→←⇒°·−’“”‘")
_AROUND = 10  # characters of context on both sides


@dataclass(frozen=True)
class OddCharacter:
    """A character outside the expected classes."""

    char: str
    code: str  # U+0416
    name: str  # of Unicode
    count: int
    id: str  # of the first text that has it
    example: str  # its surroundings there


def is_expected(char: str) -> bool:
    """Han, ASCII, space, Greek letters, Latin letters with accents (ŷ), the usual signs of mathematics."""
    if is_han(char) or char in _ASCII or char in _SIGNS or char == " ":
        return True
    name = unicodedata.name(char, "")
    return name.startswith(("GREEK SMALL LETTER", "GREEK CAPITAL LETTER", "LATIN SMALL LETTER", "LATIN CAPITAL LETTER"))


def odd_characters(texts: Iterable[tuple[str, str]]) -> list[OddCharacter]:
    """
    Args:
      texts: (id, text), as normalised.
    Returns:
      Every character that is not expected, the most frequent first, with its first example.
    """
    counts: dict[str, int] = {}
    examples: dict[str, tuple[str, str]] = {}
    for name, text in texts:
        for char in set(text):
            if is_expected(char):
                continue
            counts[char] = counts.get(char, 0) + text.count(char)
            if char not in examples:
                at = text.index(char)
                examples[char] = (name, text[max(0, at - _AROUND) : at + _AROUND + 1])
    return [
        OddCharacter(c, f"U+{ord(c):04X}", unicodedata.name(c, "unnamed"), n, *examples[c])
        for c, n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))
    ]
