"""What speaks against a text being the translation of a sentence."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.normalize import num_characters
from lhotse_prep.workflow.errors import list_names
from ml2021.mt.terms.translation import Translation

logger = logging.getLogger(__name__)
# A translation has at most as many characters: English takes about 4 for a Chinese character, and 1 for one of a term.
SHORTEST_LIMIT, PER_HAN, PER_OTHER = 80, 12, 3
MOST_REPEATS = 4  # times that some words may follow each other
_LETTER = re.compile(r"[^\W\d_]")
ENGLISH = ("", "en", "eng", "eng_Latn", "english")  # names of English


def most_characters(source: str) -> int:
    """Number of characters of the longest text that may translate a source."""
    num_han = sum(map(is_han, source))
    return SHORTEST_LIMIT + PER_HAN * num_han + PER_OTHER * (num_characters(source) - num_han)


def doubt_of(source: str, text: str, target_lang: str = "") -> str:
    """Why a text may be no translation of a source, in a few words; empty if nothing speaks against it.

    Args:
      source: a sentence that is not empty.
      target_lang: language of the text.
    """
    if not text.strip():
        return "empty"
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return f"{len(lines)} lines"
    if target_lang.lower() in [name.lower() for name in ENGLISH] and _is_untranslated(source, text):
        return "still Chinese"
    if "\ufffd" in text:
        return "broken characters"
    if repeats(text) > max(MOST_REPEATS, repeats(source)):
        return "repeats itself"
    if len(text) > most_characters(source):
        return "too long"
    return ""


def _is_untranslated(source: str, text: str) -> bool:
    """Whether a text keeps at least half of the source's Chinese characters, or more than a name has."""
    before, after = sum(map(is_han, source)), sum(map(is_han, text))
    letters = len(_LETTER.findall(text))
    return after > 0 and (2 * after >= max(1, before) or after > max(4, before / 4) or 2 * after > letters)


def repeats(text: str) -> int:
    """How often the same one to eight words or Chinese characters follow each other, at most."""
    words = re.findall(r"\w+", "".join(f" {c} " if is_han(c) else c for c in text.lower()))
    most = 1
    for size in range(1, 9):
        run = 0
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            most = max(most, run // size + 1)
    return most


def log_doubts(translations: Sequence[Translation]) -> None:
    """A warning with the number of marked translations, if there are any, and why they are marked."""
    counts = Counter(t.doubt for t in translations if t.doubt)
    if counts:
        reasons = list_names([f"{n} {reason}" for reason, n in counts.most_common()])
        logger.warning(
            "%d of %d translations are marked as doubtful: %s", sum(counts.values()), len(translations), reasons
        )
