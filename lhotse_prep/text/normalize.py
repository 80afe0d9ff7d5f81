"""Normalised text for training and scoring: Han characters and other words, separated by single spaces.

`normalize_transcript` is for training; `normalize_for_scoring` builds on it and unifies more. All functions are pure
and idempotent, and none removes a letter, digit, Han character or mathematical sign.
"""

from __future__ import annotations

import re
import unicodedata

# The blocks of Han characters, and 〇 and 々, which are used like Han characters.
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_HAN_CHAR = re.compile(f"[{_HAN}]")
_SPACE_BETWEEN_HAN = re.compile(f"(?<=[{_HAN}]) (?=[{_HAN}])")
# Marks that are not spoken: removed at the ends of a word, kept inside it (0.64, it's).
_PUNCTUATION = ",.?!;:…·•、。「」『』《》〈〉【】〔〕“”‘’\"'`～~"
# Chinese marks separate words wherever they are: no term or formula contains one.
_CHINESE_MARKS = re.compile("[、。「」『』《》〈〉【】〔〕・…]|(?:……)|——")
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "`": "'", "´": "'", "′": "'"})
_CONTROL = re.compile(
    r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufe0e\ufe0f\ufeff\ufffd]"
)
# Scoring also splits "filter,98%" and "yes/no", but nothing inside brackets or numbers: l(x,y), 3,000, 1/2, 10:30.
_MARK_INSIDE = re.compile(r'(?<=[^\W\d])[,;:!?"/]+(?=\w)|(?<=\w)[,;:!?"/]+(?=[^\W\d])|(?<=%)[,;:!?"/]+(?=\w)')
_MINUS = str.maketrans({"−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-"})


def is_han(char: str) -> bool:
    """True for one Chinese character."""
    return len(char) == 1 and _HAN_CHAR.match(char) is not None


def normalize_transcript(text: str) -> str:
    """A transcript with NFKC forms, in lower case, without punctuation, each Han character between spaces.

    Hyphenated terms stay in one piece (`self-supervised`, `t-sne`); so do formulas (`3×3`, `98%`, `l(x)`, `=>`, `δx1`).
    """
    text = _CHINESE_MARKS.sub(" ", _fold(text)).lower()
    text = _HAN_CHAR.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))
    return " ".join(t for t in (word.strip(_PUNCTUATION) for word in text.split()) if t)


def normalize_for_scoring(text: str) -> str:
    """`normalize_transcript`, with all kinds of hyphens and minus signs as `-`, and marks between two words as a space.

    The script stays: convert reference and hypothesis to one script first (`chinese_script.convert_script`).
    """
    text = normalize_transcript(text).translate(_MINUS)
    words = [word if "(" in word else _MARK_INSIDE.sub(" ", word) for word in text.split()]
    return normalize_transcript(" ".join(words))


def normalize_translation(text: str) -> str:
    """A translation with single spaces and straight quotes; case and punctuation stay."""
    return " ".join(_fold(text).split())


def remove_han_spaces(text: str) -> str:
    """Normalised text without spaces between Han characters; `normalize_transcript` puts them back."""
    return _SPACE_BETWEEN_HAN.sub("", text)


def num_characters(text: str) -> int:
    """The number of characters that are not spaces, which measures how much is said."""
    return sum(not c.isspace() for c in text)


def _fold(text: str) -> str:
    """NFKC without control characters and curly quotes (replaced before NFKC, which decomposes ´, and after it)."""
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_QUOTES)
    return unicodedata.normalize("NFKC", _CONTROL.sub(" ", text))
