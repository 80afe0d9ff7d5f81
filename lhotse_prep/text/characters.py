"""What a single character is to the normalisation, by its Unicode category and name."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# The blocks of Han characters, and 〇 and 々, which are used like Han characters.
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
HYPHENS = "-‐‑‒–"  # the longer dashes separate words
PRIME, NORM = "′", "‖"  # said after an operand (x′), and around one (‖x‖)
_HAN_CHAR = re.compile(f"[{HAN}]")


def is_han(char: str) -> bool:
    """True for one Chinese character."""
    return len(char) == 1 and _HAN_CHAR.match(char) is not None


@cache
def visible(char: str) -> str:
    """The character, nothing for one that has no width, or a space for one that only marks an encoding error."""
    category, name, code = unicodedata.category(char), unicodedata.name(char, ""), ord(char)
    if category == "Cs" or char in "\ufffc\ufffd" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return " "
    if category == "Cf" or category == "Cc" and not char.isspace() or 0xE0000 <= code <= 0xE0FFF:
        return ""
    if category == "Mn" and ("VARIATION SELECTOR" in name or "GRAPHEME JOINER" in name or "VOWEL INHERENT" in name):
        return ""
    if "FILLER" in name or code == 0x2065 or 0xFFF0 <= code <= 0xFFF8:
        return ""
    return char


@cache
def separated(char: str) -> str:
    """The character, or a space for a mark that nobody says, or nothing for a frame around a character (1⃣)."""
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if char in HYPHENS or char in f"·°{PRIME}{NORM}" or name.startswith(("PER MILLE", "PER TEN THOUSAND")):
        return char
    if category[0] == "P" or category in ("So", "Sk") or "ELLIPSIS" in name:
        return " "
    return "" if category == "Me" else char


@cache
def number_style(char: str) -> str:
    """The tag of the decomposition (<super>, <sub>, <fraction>, <circle> ...) of a number or exponent, or ""."""
    tag = unicodedata.decomposition(char).partition(" ")[0]
    if not tag.startswith("<") or tag in ("<wide>", "<narrow>", "<font>", "<noBreak>"):
        return ""
    plain, category = unicodedata.normalize("NFKC", char), unicodedata.category(char)
    if tag in ("<super>", "<sub>"):
        return tag if category in ("No", "Sm", "Ps", "Pe", "Lm") and not is_han(plain) else ""
    return tag if is_digit(plain[0]) or is_digit(plain[-1]) else ""


@cache
def is_raised_symbol(char: str) -> bool:
    """True for ™, ℠ and their kin, which NFKC would turn into letters."""
    return unicodedata.category(char) == "So" and unicodedata.decomposition(char).startswith("<super>")


@cache
def is_word_char(char: str) -> bool:
    """True for a letter or number; char may be empty."""
    return char != "" and unicodedata.category(char)[0] in "LN"


@cache
def is_digit(char: str) -> bool:
    """True for a decimal digit of any script; char may be empty."""
    return char != "" and unicodedata.category(char) == "Nd"


@cache
def is_sign(char: str) -> bool:
    """True for a mathematical sign that is said."""
    return char != "~" and unicodedata.category(char) == "Sm" and "ELLIPSIS" not in unicodedata.name(char, "")


@cache
def is_content(char: str) -> bool:
    """True for a character that a word may begin or end with, whatever is beside it."""
    return is_word_char(char) or is_sign(char) or unicodedata.category(char) in ("Sc", "Co", "Cn") or char in "%&‰‱"


def is_operand(word: str) -> bool:
    """True for what stands in formulas: one letter, or anything with a digit or sign; not a Han character."""
    letters = [c for c in word if unicodedata.category(c)[0] == "L"]
    return not any(map(is_han, word)) and (len(letters) == 1 or any(is_digit(c) or is_sign(c) for c in word))
