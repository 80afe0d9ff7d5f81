"""Text as training and scoring see it. A transcript becomes spaced tokens: Han characters alone, the rest by spaces.

All functions are pure and idempotent.
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
_QUOTES = str.maketrans({"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "`": "'", "´": "'", "′": "'"})
_CONTROL = re.compile(r"[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffd]")


def is_han(char: str) -> bool:
    """True for one Chinese character."""
    return len(char) == 1 and _HAN_CHAR.match(char) is not None


def normalize_transcript(text: str) -> str:
    """Spaced tokens of a transcript: compatibility forms unified, lower case, punctuation gone."""
    text = _fold(text).lower().translate(_QUOTES)
    text = _HAN_CHAR.sub(r" \g<0> ", unicodedata.normalize("NFKC", text))
    return " ".join(t for t in (word.strip(_PUNCTUATION) for word in text.split()) if t)


def normalize_translation(text: str) -> str:
    """A translation with single spaces and plain quotes; case and punctuation stay."""
    return " ".join(_fold(text).translate(_QUOTES).split())


def remove_han_spaces(text: str) -> str:
    """Spaced tokens as they are written: no space between two Han characters. `normalize_transcript` puts them back."""
    return _SPACE_BETWEEN_HAN.sub("", text)


def _fold(text: str) -> str:
    return _CONTROL.sub(" ", unicodedata.normalize("NFKC", text))
