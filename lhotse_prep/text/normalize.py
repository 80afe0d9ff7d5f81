"""Normalised text for training and scoring: Han characters and other words, separated by single spaces.

`normalize_transcript` is for training; `normalize_for_scoring` builds on it and unifies more. All functions are pure
and idempotent, and none removes a letter, digit, Han character or mathematical sign (except ellipses such as ⋯, ~, a
dot between two Han characters, ™ and its kin, and readings in interlinear annotations).
What else stays depends on the Unicode category of a character and on its neighbours:

- Invisible characters (Cf, Cc, variation selectors, ...) vanish, and the word around them stays in one piece.
- Marks outside ASCII (P, So, Sk) separate words. Exceptions: hyphens, · inside a word, % and its kin, ° of a number or
  unit, ′ after an operand, ‖ around one, and full-width marks between digits (10：30).
- ASCII marks stay inside words (0.64, it's) and are removed at their ends, unless they are part of a formula
  (`!=`, `.5`, `-1`, `x * y`) or said (%, &, currency; # and @ next to a letter or digit).
- Brackets stay if they are part of a formula (`l(x)`, `2×(a+b)`), and separate words otherwise.

A text that is cut at a space gives the words of its parts, unless the cut is inside the brackets of a formula, beside a
lone - * / or ^ between operands, or inside an interlinear annotation.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from lhotse_prep.text.brackets import closes, has_brackets, opens, with_whole_formulas, without_prose_brackets
from lhotse_prep.text.characters import (
    HAN,
    HYPHENS,
    NORM,
    PRIME,
    is_content,
    is_digit,
    is_han,
    is_operand,
    is_raised_symbol,
    is_word_char,
    number_style,
    separated,
    visible,
)

_HAN_CHAR = re.compile(f"[{HAN}]")
_SPACE_BETWEEN_HAN = re.compile(f"(?<=[{HAN}]) (?=[{HAN}])")
_OTHER_CHAR = re.compile(f"[^\\t-\\r\\x1c-\\x7e{HAN}]")  # neither ASCII nor Han
_PLAIN = re.compile(f"[a-z0-9 {HAN}]*")  # nothing changes in such words
_PIECE = re.compile(f"[{HAN}]+|[^\\s{HAN}]+")
_FORMS = {"“": '"', "”": '"', "„": '"', "‟": '"', "״": '"'}
_FORMS |= dict.fromkeys("‘’‚‛`´՚׳", "'") | {"゛": "\u3099", "゜": "\u309a"}
_FORMS |= {"٪": "%", "؉": "‰", "؊": "‱", "٫": ".", "٬": ","}  # Arabic
_FORM = str.maketrans(_FORMS)
_PRIME_IN_WORD = re.compile(f"(?<=[^\\W\\d_]){PRIME}(?=[^\\W\\d_])")
_UNSAID = re.compile(f"\ufffa[^\ufff9-\ufffb]{{0,100}}\ufffb|(?<=[{HAN}])[⋅∙](?=[{HAN}])")
_WIDE_MARK = re.compile("(?<!\\d)[，．：；！？]|[，．：；！？](?!\\d)")
_DASHES = re.compile(f"(?<![<{HYPHENS}])[{HYPHENS}]{{2,}}(?![>{HYPHENS}])|\\.{{2,}}")  # not the arrows <-- and -->
_OPERATORS = frozenset("-*/^")  # ASCII marks that may stand alone between two operands
# Scoring also splits "filter,98%" and "yes/no", but nothing inside brackets or numbers: l(x,y), 3,000, 1/2, 10:30.
_MARK_INSIDE = re.compile(r'(?<=[^\W\d])[,;:!?"/]+(?=\w)|(?<=\w)[,;:!?"/]+(?=[^\W\d])|(?<=%)[,;:!?"/]+(?=\w)')
_HYPHEN = re.compile("[‐‑‒–]")
_MINUS_OF_OPERAND = re.compile(rf"(?<![{HYPHENS}−])−(?=[^\W_]|\(|\.\d)")
_LONE_HYPHEN = re.compile(r"(?<!\S)-(?!\S)")
_LONGEST_KEPT = 32  # characters of the pieces whose words are kept in memory


def normalize_transcript(text: str) -> str:
    """A transcript with NFKC forms, in lower case, without punctuation, each Han character between spaces.

    Hyphenated terms stay in one piece (`self-supervised`, `t-sne`); so do formulas (`3×3`, `98%`, `l(x)`, `=>`, `δx1`).
    """
    if any(c in text for c in "\ufffa⋅∙"):
        text = _UNSAID.sub(lambda match: "" if match[0][0] == "\ufffa" else " ", text)
    return _by_pieces(text, _transcript)


def normalize_for_scoring(text: str) -> str:
    """`normalize_transcript`, with all kinds of hyphens and minus signs as `-`, and marks between two words as a space.

    A minus sign that stands alone is written `−`. The script stays: convert reference and hypothesis to one script
    first (`chinese_script.convert_script`).
    """
    return _by_pieces(normalize_transcript(text), _for_scoring)


def normalize_translation(text: str) -> str:
    """A translation with single spaces and straight quotes; case and punctuation stay."""
    return " ".join(_fold(text).replace(PRIME, "'").split())


def remove_han_spaces(text: str) -> str:
    """Normalised text without spaces between Han characters; `normalize_transcript` puts them back."""
    return _SPACE_BETWEEN_HAN.sub("", text)


def num_characters(text: str) -> int:
    """The number of characters that are not spaces, which measures how much is said."""
    return sum(not c.isspace() for c in text)


def _by_pieces(text: str, function: Callable[[str], str]) -> str:
    """Normalise a text piece by piece: runs of Han characters, what is between spaces, and formulas with spaces."""
    pieces = _PIECE.findall(text)
    if has_brackets(text):
        pieces = with_whole_formulas(pieces)
    words: list[str] = []
    for piece in pieces:
        if piece[0] >= "\u3005" and is_han(piece[0]):
            words += unicodedata.normalize("NFKC", piece)
        else:
            words += (_kept_words if len(piece) <= _LONGEST_KEPT else _words)(function, piece)
    if _OPERATORS.isdisjoint(words):
        return " ".join(words)
    return " ".join(word for i, word in enumerate(words) if word not in _OPERATORS or _is_operator(words, i))


def _words(function: Callable[[str], str], text: str) -> tuple[str, ...]:
    """Apply until nothing changes: a mark that goes can leave another one at the end of a word."""
    if text.isascii() and text.isalnum():
        return (text.lower(),)
    while (result := function(text)) != text:
        text = result
        if _PLAIN.fullmatch(text):
            break
    return tuple(text.split())


_kept_words = lru_cache(maxsize=1 << 16)(_words)


def _transcript(text: str) -> str:
    text = _PRIME_IN_WORD.sub("'", _fold(_WIDE_MARK.sub(" ", text)).lower())
    text = unicodedata.normalize("NFKC", text)
    text = _DASHES.sub(" ", _OTHER_CHAR.sub(lambda match: separated(match[0]), text))
    text = without_prose_brackets(_HAN_CHAR.sub(r" \g<0> ", text))
    return " ".join(word for word in map(_strip_marks, text.split()) if word)


def _for_scoring(text: str) -> str:
    text = _HYPHEN.sub("-", text)
    text = _LONE_HYPHEN.sub("−", _MINUS_OF_OPERAND.sub("-", text))
    return _transcript(" ".join(w if has_brackets(w) else _MARK_INSIDE.sub(" ", w) for w in text.split()))


def _fold(text: str) -> str:
    """NFKC without invisible characters and curly quotes; x² becomes x^2, and 3½ becomes 3 1⁄2, not 31⁄2.

    Forms are replaced before NFKC, which decomposes ´, and after it.
    """
    text = unicodedata.normalize("NFKC", _separate_numbers(text.translate(_FORM))).translate(_FORM)
    return unicodedata.normalize("NFKC", _OTHER_CHAR.sub(lambda match: visible(match[0]), text))


def _separate_numbers(text: str) -> str:
    """Put `^`, `_` or a space where NFKC would join a number in superscript, subscript, circle ... to its neighbour.

    ™ and its kin, which NFKC would join as letters, are left out.
    """
    chars = set(text)
    if raised := set(filter(is_raised_symbol, chars)):
        text = text.translate(dict.fromkeys(map(ord, raised), ""))
    if not any(map(number_style, chars)):
        return text
    return text[:1] + "".join(_joint(a, b) + b for a, b in zip(text, text[1:]))


def _joint(before: str, after: str) -> str:
    """What keeps two characters apart after NFKC."""
    style, last = number_style(after), unicodedata.normalize("NFKC", before)[-1]
    if number_style(before) == style and style in ("", "<super>", "<sub>"):
        return ""
    if style == "<super>" and (is_word_char(last) and not is_han(last) or last in ")]}"):
        return "^"
    if not (is_digit(last) and is_digit(unicodedata.normalize("NFKC", after)[0])):
        return ""
    return "_" if style == "<sub>" else " "


def _is_operator(words: list[str], i: int) -> bool:
    return 0 < i < len(words) - 1 and is_operand(words[i - 1]) and is_operand(words[i + 1])


def _strip_marks(word: str) -> str:
    """Remove the marks at both ends that are neither said nor part of a formula."""
    if word.isalnum():
        return word
    if word in _OPERATORS or word in HYPHENS:
        return "-" if word in HYPHENS else word
    start, end = 0, len(word)
    while start < end and not _begins_word(word, start):
        start += 1
    while end > start:
        last = end - 1
        while last > start and unicodedata.category(word[last])[0] == "M":
            last -= 1
        if _ends_word(word, start, last):
            break
        end = last
    return word[start:end]


def _begins_word(word: str, i: int) -> bool:
    c, after = word[i], word[i + 1 : i + 2]
    if is_content(c) or opens(c):
        return True
    if c in HYPHENS:
        return after != "" and (is_content(after) or opens(after) or after == "." and len(word) > i + 2)
    if c == "." or c == "~" and is_digit(after):
        return is_digit(after)
    if c in "#@":
        return is_word_char(after)
    if c == "°":
        return after in ("c", "f") and not is_word_char(word[i + 2 : i + 3])
    if c == NORM:
        return after != "" and (is_content(after) or opens(after))
    return c in "!:~*/^" and after == "="


def _ends_word(word: str, start: int, i: int) -> bool:
    c, before = word[i], word[i - 1] if i > start else ""
    if is_content(c) or closes(c):
        return True
    if c in HYPHENS:
        return before == "<"
    if c == "°":
        return is_digit(before)
    if c == PRIME:
        return is_word_char(before) or before == PRIME
    if c == NORM:
        return before != "" and (is_content(before) or closes(before))
    return c in "#*" and is_word_char(before) and word[0] not in "#*"
