"""Text as training and scoring see it. A transcript becomes spaced tokens: Han characters alone, the rest by spaces.

`normalize_transcript` is for training, `normalize_for_scoring` goes further on top of it. All functions are pure and
idempotent; none loses a letter, digit, Han character or mathematical sign.
"""

from __future__ import annotations

import re
import unicodedata

# The blocks of Han characters, and the two signs that stand for one (〇, 々).
_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_HAN_CHAR = re.compile(f"[{_HAN}]")
_SPACE_BETWEEN_HAN = re.compile(f"(?<=[{_HAN}]) (?=[{_HAN}])")
# Marks of writing, not of speech: removed at the edges of a token, kept inside (0.64, t-sne, l(x), it's).
_PUNCTUATION = ",.?!;:…·•、。「」『』《》〈〉【】〔〕“”‘’\"'`～~"
# Chinese marks part words wherever they stand: no term or formula has one inside.
_CHINESE_MARKS = re.compile("[、。「」『』《》〈〉【】〔〕・…]|(?:……)|——")
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "`": "'", "´": "'", "′": "'"})
_CONTROL = re.compile(
    r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufe0e\ufe0f\ufeff\ufffd]"
)
# Scoring also parts "filter,98%" and "yes/no", but nothing within brackets or numbers: l(x,y), 3,000, 1/2, 10:30.
_MARK_INSIDE = re.compile(r'(?<=[^\W\d])[,;:!?"/]+(?=\w)|(?<=\w)[,;:!?"/]+(?=[^\W\d])|(?<=%)[,;:!?"/]+(?=\w)')
_MINUS = str.maketrans({"−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-"})


def is_han(char: str) -> bool:
    """True for one Chinese character."""
    return len(char) == 1 and _HAN_CHAR.match(char) is not None


def normalize_transcript(text: str) -> str:
    """Spaced tokens of a transcript: compatibility forms unified, lower case, punctuation gone.

    Hyphened terms stay one token (`self-supervised`, `t-sne`), and so do formulas (`3×3`, `98%`, `l(x)`, `=>`, `δx1`).
    """
    text = _CHINESE_MARKS.sub(" ", _fold(text)).lower()
    text = _HAN_CHAR.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))
    return " ".join(t for t in (word.strip(_PUNCTUATION) for word in text.split()) if t)


def normalize_for_scoring(text: str) -> str:
    """`normalize_transcript`, and what writers do differently unified: kinds of hyphens, marks between two words.

    The script is left as it is: unify it before, on both sides (`lhotse_prep.text.chinese_script.convert_script`).
    """
    text = normalize_transcript(text).translate(_MINUS)
    words = [word if "(" in word else _MARK_INSIDE.sub(" ", word) for word in text.split()]
    return normalize_transcript(" ".join(words))


def normalize_translation(text: str) -> str:
    """A translation with single spaces and plain quotes; case and punctuation stay."""
    return " ".join(_fold(text).split())


def remove_han_spaces(text: str) -> str:
    """Spaced tokens as they are written: no space between two Han characters. `normalize_transcript` puts them back."""
    return _SPACE_BETWEEN_HAN.sub("", text)


def num_characters(text: str) -> int:
    """Characters without spaces, the measure of how much is said."""
    return sum(not c.isspace() for c in text)


def _fold(text: str) -> str:
    """One form for each character; curly quotes and back-ticks plain (before NFKC, which takes ´ apart, and after)."""
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_QUOTES)
    return unicodedata.normalize("NFKC", _CONTROL.sub(" ", text))
