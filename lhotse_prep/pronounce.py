"""Units of pronunciation for the aligner: toneless pinyin initials and finals for Han, BPE pieces for the rest.

Far fewer than characters, so a small model learns them from an hour of speech, and every Han character has some.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from pypinyin import Style, lazy_pinyin

from lhotse_prep.normalize import is_han
from lhotse_prep.tokens import train_bpe

BLANK_ID = 0


class PronunciationUnits:
    """Words of a transcript as ids of units; 0 is the CTC blank."""

    def __init__(self, texts: Sequence[str], num_english_pieces: int) -> None:
        """The inventory is read off the texts (normalised transcripts)."""
        english = Counter(w for text in texts for w in text.split() if not _is_han_word(w))
        alphabet = {c for word in english for c in word}
        self._bpe = train_bpe(english, max(num_english_pieces, len(alphabet) + 2))
        units = {u for text in texts for word in self._spell(text.split()) for u in word}
        self._ids = {u: i + 1 for i, u in enumerate(sorted(units))}

    def __len__(self) -> int:
        return len(self._ids) + 1  # with blank

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The unit ids of each word; every word has at least one."""
        return [[self._ids[u] for u in word] for word in self._spell(words)]

    def _spell(self, words: Sequence[str]) -> list[list[str]]:
        spelled: list[list[str]] = []
        for han, group in groupby(words, key=_is_han_word):
            run = list(group)
            if han:  # the run as a whole, for characters with several readings
                initials, finals = (
                    lazy_pinyin("".join(run), style, _no_reading, strict=False)  # type: ignore[arg-type]
                    for style in (Style.INITIALS, Style.FINALS)
                )
                spelled += [[u for u in (i, f) if u] or [w] for i, f, w in zip(initials, finals, run, strict=True)]
            else:
                spelled += [self._bpe.encode(word, out_type=str) for word in run]
        return spelled


def syllable(character: str) -> str:
    """The toneless pinyin of one Han character by its most frequent reading, or the character where none is known."""
    return lazy_pinyin(character, Style.NORMAL, _no_reading)[0] or character  # type: ignore[arg-type]


def _no_reading(characters: str) -> list[str]:
    """One item for each of some characters that pypinyin does not know; it hands them over together."""
    return [""] * len(characters)


def _is_han_word(word: str) -> bool:
    return len(word) == 1 and is_han(word)
