"""Brackets: those of formulas stay (`l(x)`, `2×(a+b)`), and all others separate words.

A formula is short, so a bracket never changes what is far from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lhotse_prep.text.characters import PRIME, is_han, is_operand, is_sign, is_word_char

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_OPENING = "([{（［｛︵︷﹇﹙﹛⁽₍"  # and the forms that NFKC makes of them
_CLOSING = ")]}）］｝︶︸﹈﹚﹜⁾₎"
_ANY = re.compile("[" + re.escape(_OPENING + _CLOSING) + "]")
_MOST_PIECES = 8  # of a formula, between spaces
_MOST_CHARS = 80  # of a formula, between its brackets


def opens(char: str) -> bool:
    """True for an opening bracket."""
    return char in _PAIRS


def closes(char: str) -> bool:
    """True for a closing bracket."""
    return char in _PAIRS.values()


def has_brackets(text: str) -> bool:
    """True if there is a bracket of any form in the text."""
    return _ANY.search(text) is not None


def with_whole_formulas(pieces: Sequence[str]) -> list[str]:
    """Join pieces of a text (runs of Han characters, and what is between spaces) that one pair of brackets holds."""
    groups, i = list[str](), 0
    while i < len(pieces):
        end = _end_of_formula(pieces, i)
        groups.append(" ".join(pieces[i:end]))
        i = end
    return groups


def without_prose_brackets(text: str) -> str:
    """Replace brackets by spaces, but not those of a formula."""
    if not has_brackets(text):
        return text
    chars, opening = list(text), list[int]()
    for i, c in enumerate(text):
        if c in _PAIRS:
            opening.append(i)
            chars[i] = " "
        elif closes(c):
            start = opening.pop() if opening else i
            chars[i] = " "
            if _PAIRS.get(text[start]) == c and _is_formula(text, start, i):
                chars[start], chars[i] = text[start], c
    return "".join(chars)


def _end_of_formula(pieces: Sequence[str], start: int) -> int:
    """The index after the piece that closes all brackets which pieces[start] opens, or start + 1 if none is near."""
    depth = _depth(pieces[start], 0)
    if depth == 0:
        return start + 1
    for i in range(start + 1, min(start + _MOST_PIECES, len(pieces))):
        if is_han(pieces[i][0]):
            break
        depth = _depth(pieces[i], depth)
        if depth == 0:
            return i + 1
    return start + 1


def _depth(piece: str, depth: int) -> int:
    """The number of open brackets after a piece."""
    for bracket in _ANY.findall(piece):
        depth = depth + 1 if bracket in _OPENING else max(0, depth - 1)
    return depth


def _is_formula(text: str, start: int, end: int) -> bool:
    """True if the brackets at `start` and `end` follow a function or touch a sign, and hold no words."""
    if end - start > _MOST_CHARS:
        return False
    before = text[max(0, start - _MOST_CHARS) : start].rpartition(" ")[2]
    after = text[end + 1 : end + 2]
    arguments = re.split(r"[\s,;]+", text[start + 1 : end])
    if any(map(is_han, text[start:end])) or not any(map(is_word_char, text[start + 1 : end])):
        return False
    touches = before != "" and (is_word_char(before[-1]) or is_sign(before[-1]) or before[-1] in f")]}}^-*/{PRIME}")
    if not touches and not (after and (is_sign(after) or after == "^")):
        return False
    return all(map(is_operand, filter(None, arguments))) or len(arguments) == 1 and is_operand(before)
