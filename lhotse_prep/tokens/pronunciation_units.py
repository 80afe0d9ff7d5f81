"""Units of pronunciation for the aligner: toneless pinyin initials and finals for Han, BPE pieces for the rest.

Far fewer than characters, so a small model learns them from an hour of speech, and every Han character has some.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import sentencepiece as spm
from pypinyin import Style, lazy_pinyin

from lhotse_prep.text.normalize import is_han
from lhotse_prep.text.syllables import _no_reading
from lhotse_prep.tokens.bpe import train_bpe
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file, write_text

BLANK_ID = 0

_UNITS, _BPE = "units.txt", "units.bpe.model"


class PronunciationUnits:
    """Words of a transcript as ids of units; 0 is the CTC blank."""

    def __init__(self, units: Sequence[str], bpe: spm.SentencePieceProcessor) -> None:
        """The units in the order of their ids, from 1, and the splitter of words that are not Han."""
        self._units, self._bpe = list(units), bpe
        self._ids = {u: i for i, u in enumerate(self._units, 1)}

    @classmethod
    def of_texts(cls, texts: Sequence[str], num_english_pieces: int) -> PronunciationUnits:
        """The inventory is read off the texts (normalised transcripts)."""
        english = Counter(w for text in texts for w in text.split() if not _is_han_word(w))
        alphabet = {c for word in english for c in word}
        bpe = train_bpe(english, max(num_english_pieces, len(alphabet) + 2))
        spelling = cls([], bpe)
        return cls(sorted({u for text in texts for word in spelling._spell(text.split()) for u in word}), bpe)

    @classmethod
    def load(cls, folder: Path) -> PronunciationUnits:
        """What `save` wrote; raises DataError where a file is missing."""
        for name in (_UNITS, _BPE):
            if not (folder / name).is_file():
                raise DataError(f"no {folder / name}: take the whole folder that stage 3 left")
        units = (folder / _UNITS).read_text(encoding="utf-8").split("\n")[:-1]
        return cls(units, spm.SentencePieceProcessor(model_proto=(folder / _BPE).read_bytes()))

    def save(self, folder: Path) -> None:
        """Write units.txt, a unit a line in the order of their ids, and units.bpe.model."""
        write_text(folder / _UNITS, "".join(u + "\n" for u in self._units))
        with whole_file(folder / _BPE, "wb") as f:
            f.write(self._bpe.serialized_model_proto())

    def __len__(self) -> int:
        return len(self._ids) + 1  # with blank

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The unit ids of each word; those of the texts that the units are of have at least one, others maybe none."""
        return [[self._ids[u] for u in word if u in self._ids] for word in self._spell(words)]

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


def _is_han_word(word: str) -> bool:
    return len(word) == 1 and is_han(word)
