"""Pronunciation units for the aligner: toneless pinyin initials and finals for Han characters, BPE pieces for the rest.

There are far fewer units than characters, so a small model learns them from an hour of speech.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import sentencepiece as spm

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.syllables import initials_and_finals
from lhotse_prep.tokens.bpe import train_bpe
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_text

BLANK_ID = 0

_UNITS, _BPE = "units.txt", "units.bpe.model"


class PronunciationUnits:
    """Encodes the words of a transcript as unit ids; 0 is the CTC blank."""

    def __init__(self, units: Sequence[str], bpe: spm.SentencePieceProcessor) -> None:
        """
        Args:
          units: in the order of their ids, which begin at 1.
          bpe: splits words that are not Han characters.
        """
        self._units, self._bpe = list(units), bpe
        self._ids = {u: i for i, u in enumerate(self._units, 1)}

    @classmethod
    def of_texts(cls, texts: Sequence[str], num_english_pieces: int) -> PronunciationUnits:
        """The units of normalised transcripts, with a BPE of about num_english_pieces for their English words."""
        english = Counter(w for text in texts for w in text.split() if not _is_han_word(w))
        alphabet = {c for word in english for c in word}
        bpe = train_bpe(english, max(num_english_pieces, len(alphabet) + 2))
        spelling = cls([], bpe)
        return cls(sorted({u for text in texts for word in spelling._spell(text.split()) for u in word}), bpe)

    @classmethod
    def load(cls, folder: Path) -> PronunciationUnits:
        """Read what `save` wrote; raises DataError if a file is missing."""
        for name in (_UNITS, _BPE):
            if not (folder / name).is_file():
                raise DataError(f"no {folder / name}: give the whole folder that stage 3 wrote")
        units = (folder / _UNITS).read_text(encoding="utf-8").split("\n")[:-1]
        return cls(units, spm.SentencePieceProcessor(model_proto=(folder / _BPE).read_bytes()))

    def save(self, folder: Path) -> None:
        """Write units.txt, one unit per line in the order of their ids, and units.bpe.model."""
        write_text(folder / _UNITS, "".join(u + "\n" for u in self._units))
        with whole_file(folder / _BPE, "wb") as f:
            f.write(self._bpe.serialized_model_proto())

    def __len__(self) -> int:
        return len(self._ids) + 1  # with the blank

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The unit ids of each word: at least one for a word of the texts given to of_texts, maybe none for others."""
        return [[self._ids[u] for u in word if u in self._ids] for word in self._spell(words)]

    def write_words(self, words: Sequence[str]) -> list[list[int] | None]:
        """As encode_words, but None for a word that these units cannot write, or only a part of it."""
        spelled = self._spell(words)
        return [[self._ids[u] for u in word] if all(u in self._ids for u in word) else None for word in spelled]

    @property
    def symbols(self) -> list[str]:
        """The units in the order of their ids, which begin at 1."""
        return list(self._units)

    def _spell(self, words: Sequence[str]) -> list[list[str]]:
        """The units of each word, as strings; a Han character without a reading is a unit itself."""
        spelled: list[list[str]] = []
        for han, group in groupby(words, key=_is_han_word):
            run = list(group)
            if han:  # the whole run at once, since neighbours decide between several readings
                parts = initials_and_finals("".join(run))
                spelled += [[u for u in pair if u] or [w] for pair, w in zip(parts, run, strict=True)]
            else:
                spelled += [self._bpe.encode(word, out_type=str) for word in run]
        return spelled


def _is_han_word(word: str) -> bool:
    return len(word) == 1 and is_han(word)
