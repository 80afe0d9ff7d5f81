"""Normalised text for training and scoring: Han characters and other words, separated by single spaces.

`normalize_transcript` is for training; `normalize_for_scoring` builds on it and unifies more. All functions are pure
and idempotent, and none removes a letter, digit, Han character or mathematical sign (except ellipses such as ⋯, and ~).
What else stays depends on the Unicode category of a character and on its neighbours:

- Invisible characters (Cf, Cc, variation selectors, ...) vanish, and the word around them stays in one piece.
- Marks outside ASCII (P, So, Sk) separate words. Exceptions: hyphens, · inside a word, % and its kin, ° of a number.
- ASCII marks stay inside words (0.64, it's) and are removed at their ends, unless they are part of a formula
  (`!=`, `.5`, `-1`, `x * y`) or said (%, &, currency; # and @ next to a letter or digit).
- Brackets stay if they are part of a formula (`l(x)`, `2×(a+b)`), and separate words otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

# The blocks of Han characters, and 〇 and 々, which are used like Han characters.
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_HAN_CHAR = re.compile(f"[{_HAN}]")
_SPACE_BETWEEN_HAN = re.compile(f"(?<=[{_HAN}]) (?=[{_HAN}])")
_OTHER_CHAR = re.compile(f"[^\\t-\\r\\x1c-\\x7e{_HAN}]")  # neither ASCII nor Han
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "`": "'", "´": "'", "′": "'"})
_HYPHENS = "-‐‑‒–"  # the longer dashes separate words
_DASHES = re.compile(f"(?<![<{_HYPHENS}])[{_HYPHENS}]{{2,}}(?![>{_HYPHENS}])|\\.{{2,}}")  # not the arrows <-- and -->
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_OPERATORS = "-*/^"  # ASCII marks that may stand alone between two operands
# Scoring also splits "filter,98%" and "yes/no", but nothing inside brackets or numbers: l(x,y), 3,000, 1/2, 10:30.
_MARK_INSIDE = re.compile(r'(?<=[^\W\d])[,;:!?"/]+(?=\w)|(?<=\w)[,;:!?"/]+(?=[^\W\d])|(?<=%)[,;:!?"/]+(?=\w)')
_HYPHEN = re.compile("[‐‑‒–]")
_MINUS_OF_OPERAND = re.compile(rf"(?<![{_HYPHENS}−])−(?=[^\W_]|\(|\.\d)")
_LONE_HYPHEN = re.compile(r"(?<!\S)-(?!\S)")


def is_han(char: str) -> bool:
    """True for one Chinese character."""
    return len(char) == 1 and _HAN_CHAR.match(char) is not None


def normalize_transcript(text: str) -> str:
    """A transcript with NFKC forms, in lower case, without punctuation, each Han character between spaces.

    Hyphenated terms stay in one piece (`self-supervised`, `t-sne`); so do formulas (`3×3`, `98%`, `l(x)`, `=>`, `δx1`).
    """
    return _until_stable(_transcript, text)


def normalize_for_scoring(text: str) -> str:
    """`normalize_transcript`, with all kinds of hyphens and minus signs as `-`, and marks between two words as a space.

    A minus sign that stands alone is written `−`. The script stays: convert reference and hypothesis to one script
    first (`chinese_script.convert_script`).
    """
    return _until_stable(_for_scoring, normalize_transcript(text))


def normalize_translation(text: str) -> str:
    """A translation with single spaces and straight quotes; case and punctuation stay."""
    return " ".join(_fold(text).split())


def remove_han_spaces(text: str) -> str:
    """Normalised text without spaces between Han characters; `normalize_transcript` puts them back."""
    return _SPACE_BETWEEN_HAN.sub("", text)


def num_characters(text: str) -> int:
    """The number of characters that are not spaces, which measures how much is said."""
    return sum(not c.isspace() for c in text)


def _until_stable(function: Callable[[str], str], text: str) -> str:
    """Apply until nothing changes: a mark that goes can leave another one at the end of a word."""
    while (result := function(text)) != text:
        text = result
    return text


def _transcript(text: str) -> str:
    text = unicodedata.normalize("NFKC", _fold(text).lower())
    text = _DASHES.sub(" ", _OTHER_CHAR.sub(lambda match: _separated(match[0]), text))
    text = _without_prose_brackets(_HAN_CHAR.sub(r" \g<0> ", text))
    words = [word for word in map(_strip_marks, text.split()) if word]
    return " ".join(word for i, word in enumerate(words) if word not in _OPERATORS or _is_operator(words, i))


def _for_scoring(text: str) -> str:
    text = _HYPHEN.sub("-", text)
    text = _LONE_HYPHEN.sub("−", _MINUS_OF_OPERAND.sub("-", text))
    words = [word if any(c in word for c in _BRACKETS) else _MARK_INSIDE.sub(" ", word) for word in text.split()]
    return _transcript(" ".join(words))


def _fold(text: str) -> str:
    """NFKC without invisible characters and curly quotes; x² becomes x^2, and 3½ becomes 3 1⁄2, not 31⁄2.

    Quotes are replaced before NFKC, which decomposes ´, and after it.
    """
    text = unicodedata.normalize("NFKC", _separate_numbers(text.translate(_QUOTES))).translate(_QUOTES)
    return unicodedata.normalize("NFKC", _OTHER_CHAR.sub(lambda match: _visible(match[0]), text))


def _separate_numbers(text: str) -> str:
    """Put `^`, `_` or a space where NFKC would join a number in superscript, subscript, circle ... to its neighbour."""
    if not any(map(_number_style, set(text))):
        return text
    return text[:1] + "".join(_joint(a, b) + b for a, b in zip(text, text[1:]))


def _joint(before: str, after: str) -> str:
    """What keeps two characters apart after NFKC."""
    style, last = _number_style(after), unicodedata.normalize("NFKC", before)[-1]
    if _number_style(before) == style and style in ("", "<super>", "<sub>"):
        return ""
    if style == "<super>" and (_is_word_char(last) and not is_han(last) or last in ")]}"):
        return "^"
    if not (_is_digit(last) and _is_digit(unicodedata.normalize("NFKC", after)[0])):
        return ""
    return "_" if style == "<sub>" else " "


@cache
def _number_style(char: str) -> str:
    """The tag of the decomposition (<super>, <sub>, <fraction>, <circle> ...) of a number or exponent, or ""."""
    tag = unicodedata.decomposition(char).partition(" ")[0]
    if not tag.startswith("<") or tag in ("<wide>", "<narrow>", "<font>", "<noBreak>"):
        return ""
    plain, category = unicodedata.normalize("NFKC", char), unicodedata.category(char)
    if tag in ("<super>", "<sub>"):
        return tag if category in ("No", "Sm", "Ps", "Pe", "Lm") and not is_han(plain) else ""
    return tag if _is_digit(plain[0]) or _is_digit(plain[-1]) else ""


@cache
def _visible(char: str) -> str:
    """The character, nothing for one that has no width, or a space for one that only marks an encoding error."""
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if category == "Cs" or char in "\ufffc\ufffd":
        return " "
    if category == "Cf" or category == "Cc" and not char.isspace() or 0xE0000 <= ord(char) <= 0xE0FFF:
        return ""
    if category == "Mn" and ("VARIATION SELECTOR" in name or "GRAPHEME JOINER" in name or "VOWEL INHERENT" in name):
        return ""
    return char


@cache
def _separated(char: str) -> str:
    """The character, or a space for a mark that nobody says, or nothing for a frame around a character (1⃣)."""
    category, name = unicodedata.category(char), unicodedata.name(char, "")
    if char in _HYPHENS or char in "·°" or name.startswith(("PER MILLE", "PER TEN THOUSAND")):
        return char
    if category[0] == "P" or category in ("So", "Sk") or "ELLIPSIS" in name:
        return " "
    return "" if category == "Me" else char


def _without_prose_brackets(text: str) -> str:
    """Replace brackets by spaces, but not those of a formula, nor an opening one without its partner inside a word."""
    if not any(c in text for c in "()[]{}"):
        return text
    chars, opening = list(text), list[int]()
    for i, c in enumerate(text):
        if c in _BRACKETS:
            opening.append(i)
        elif c in _BRACKETS.values():
            start = opening.pop() if opening and _BRACKETS[text[opening[-1]]] == c else None
            if start is None or not _in_formula(text, start, i):
                chars[i] = " "
                if start is not None:
                    chars[start] = " "
    for i in opening:
        if not (0 < i < len(text) - 1 and _is_word_char(text[i - 1]) and _is_word_char(text[i + 1])):
            chars[i] = " "
    return "".join(chars)


def _in_formula(text: str, start: int, end: int) -> bool:
    """True if the brackets at `start` and `end` follow a function or touch a sign, and hold no words."""
    before, after = text[text.rfind(" ", 0, start) + 1 : start], text[end + 1 : end + 2]
    arguments = re.split(r"[\s,;]+", text[start + 1 : end])
    if any(map(is_han, text[start:end])) or not any(map(_is_word_char, text[start + 1 : end])):
        return False
    touches = before != "" and (_is_word_char(before[-1]) or _is_sign(before[-1]) or before[-1] in ")]}^-*/")
    if not touches and not (after and (_is_sign(after) or after == "^")):
        return False
    return all(map(_is_operand, filter(None, arguments))) or len(arguments) == 1 and _is_operand(before)


def _is_operand(word: str) -> bool:
    """True for what stands in formulas: one letter, or anything with a digit or sign; not a Han character."""
    letters = [c for c in word if unicodedata.category(c)[0] == "L"]
    return not any(map(is_han, word)) and (len(letters) == 1 or any(_is_digit(c) or _is_sign(c) for c in word))


def _is_operator(words: list[str], i: int) -> bool:
    return 0 < i < len(words) - 1 and _is_operand(words[i - 1]) and _is_operand(words[i + 1])


def _strip_marks(word: str) -> str:
    """Remove the marks at both ends that are neither said nor part of a formula."""
    if word.isalnum():
        return word
    if word in _OPERATORS or word in _HYPHENS:
        return "-" if word in _HYPHENS else word
    start, end = 0, len(word)
    while start < end and not _begins_word(word, start):
        start += 1
    while end > start and not _ends_word(word, start, end - 1):
        end -= 1
    return word[start:end]


def _begins_word(word: str, i: int) -> bool:
    c, after = word[i], word[i + 1 : i + 2]
    if _is_content(c) or c in _BRACKETS:
        return True
    if c in _HYPHENS:
        return after != "" and (_is_content(after) or after in "([{." and len(word) > i + 2)
    if c == "." or c == "~" and _is_digit(after):
        return _is_digit(after)
    if c in "#@":
        return _is_word_char(after)
    return c in "!:~*/^" and after == "="


def _ends_word(word: str, start: int, i: int) -> bool:
    c, before = word[i], word[i - 1] if i > start else ""
    if _is_content(c) or c in _BRACKETS.values():
        return True
    if unicodedata.category(c)[0] == "M":
        return before != "" and _ends_word(word, start, i - 1)
    if c in _HYPHENS:
        return before == "<"
    if c == "°":
        return _is_digit(before)
    return c in "#*" and _is_word_char(before) and word[start] != "*"


def _is_content(char: str) -> bool:
    return _is_word_char(char) or _is_sign(char) or unicodedata.category(char) in ("Sc", "Co", "Cn") or char in "%&‰‱"


@cache
def _is_word_char(char: str) -> bool:
    return char != "" and unicodedata.category(char)[0] in "LN"


@cache
def _is_digit(char: str) -> bool:
    return char != "" and unicodedata.category(char) == "Nd"


@cache
def _is_sign(char: str) -> bool:
    return char != "~" and unicodedata.category(char) == "Sm" and "ELLIPSIS" not in unicodedata.name(char, "")
