"""A vocabulary of characters without a sentencepiece model: icefall's lang_char, such as that of AISHELL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.special_tokens import SPACE_NAMES, UNK, SpecialTokens
from lhotse_prep.tokens.token_table import WORD_START, TokenTable, WordSpan, to_capitals
from lhotse_prep.workflow.errors import DataError

_SOUND = re.compile(r"[a-zü:]+[0-9]?|[A-Z]{1,3}[0-9]?|[A-Z]+_[A-Z]")  # a pinyin syllable or a phone


class CharTable(TokenTable):
    """Each Han character and each letter is a token; a word that is a token itself, such as an acronym, is one token.

    If there is a token for the space, it stands between two words of letters. Without it, such words are one word in a
    hypothesis, because nothing tells where the second begins.
    """

    kind = "char"

    def __init__(self, symbols: Sequence[str], upper_case: bool = False, special: SpecialTokens | None = None) -> None:
        """
        Args:
          symbols, upper_case, special: as for TokenTable.
        """
        super().__init__(symbols, None, upper_case, special)
        self.space = next((self.ids[name] for name in SPACE_NAMES if name in self.ids), None)

    def encode_words(self, text: str) -> list[list[int]]:
        """As TokenTable.encode_words; the token of the space belongs to the word after it."""
        words = (to_capitals(text) if self.upper_case else text).split()
        result = []
        for before, word in zip(["", *words], words):
            ids = self._encode_word(word)
            if self.space is not None and before and not is_han(before[-1]) and not is_han(word[0]):
                ids = [self.space, *ids]
            result.append(ids)
        return result

    def _encode_word(self, word: str) -> list[int]:
        special = self.special
        units = [word] if self.ids.get(word, special.unk) not in special.not_text else list(word)
        ids = [self.ids.get(unit, special.unk) for unit in units]
        return [special.unk if i in special.silent else i for i in ids]

    def _spans(self, ids: Sequence[int]) -> Iterator[WordSpan]:
        word: WordSpan | None = None  # the next letter may continue it
        space: int | None = None  # index of the space before the next word, which belongs to it
        for index, i in enumerate(ids):
            if i in self.special.silent:
                continue
            if i == self.space:
                space = index
            symbol = UNK if i == self.special.unk else self.symbols[i].strip(WORD_START)
            is_letter = len(symbol) == 1 and not is_han(symbol)
            if word is not None and not (is_letter and i != self.space):
                yield word
                word = None
            if i == self.space:
                continue
            if word is not None:
                word = WordSpan(word.text + symbol, word.begin, index + 1)
                continue
            word, space = WordSpan(symbol, index if space is None else space, index + 1), None
            if not is_letter:
                yield word
                word = None
        if word is not None:
            yield word


def require_characters(symbols: Sequence[str], special: SpecialTokens, where: str) -> None:
    """Check that a vocabulary without a sentencepiece model is one of characters.

    Raises:
      DataError: its tokens are pieces of words, whose model is missing, or sounds, from which no text can be written.
    """
    texts = [s for i, s in enumerate(symbols) if i not in special.not_text and s not in SPACE_NAMES]
    pieces = [s for s in texts if len(s) > 1 and s.startswith(WORD_START)]
    if pieces:
        raise DataError(
            f"{where}/bpe.model is missing, and so is bbpe.model, but tokens.txt has pieces of words ({pieces[0]} and "
            f"{len(pieces) - 1} more): copy the model from where tokens.txt is from"
        )
    longer = [s for s in texts if len(s) > 1 and not any(map(is_han, s))]
    if longer and not any(map(is_han, texts)):
        sounds = [s for s in longer if _SOUND.fullmatch(s)]
        what = "pinyin syllables or phones" if len(sounds) > len(longer) / 2 else "neither characters nor BPE pieces"
        raise DataError(
            f"{where}: the tokens are {what} ({', '.join(longer[:3])}), from which no text can be written; take a "
            "model of characters, BPE or byte-BPE"
        )
