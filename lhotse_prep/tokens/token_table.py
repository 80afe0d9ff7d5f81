"""Normalised text <-> token ids, by characters and an English BPE, or by the pieces of a sentencepiece model.

For a hypothesis, a table also gives the tokens of each word, from which the words get their times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import sentencepiece as spm

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.byte_bpe import from_byte_chars, to_byte_chars, valid_characters
from lhotse_prep.tokens.special_tokens import UNK, SpecialTokens, special_tokens

WORD_START = "▁"


@dataclass(frozen=True)
class WordSpan:
    """A Han character, an English word or <unk> of normalised text, and the range of its tokens."""

    text: str
    begin: int  # index of its first token
    end: int  # index after its last token, which may also hold the beginning of the next word


class TokenTable:
    """Each Han character is a token; a BPE splits everything else."""

    kind = "char+bpe"

    def __init__(
        self,
        symbols: Sequence[str],
        bpe: spm.SentencePieceProcessor | None,
        upper_case: bool = False,
        special: SpecialTokens | None = None,
    ) -> None:
        """
        Args:
          symbols: the tokens with the ids 0, 1, ...
          bpe: splits what is not Han, or all text; only a CharTable has none.
          upper_case: the tokens have capitals, as icefall's often do: text is encoded in capitals, and decoded text
            is converted to small letters. A letter that this would change (ß, ς) is not converted.
          special: the tokens that are not text; None: those with the usual names.
        Raises:
          DataError: see special_tokens.
        """
        self.symbols = list(symbols)
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.bpe = bpe
        self.upper_case = upper_case
        self.special = special_tokens(self.symbols) if special is None else special

    def __len__(self) -> int:
        return len(self.symbols)

    def encode_words(self, text: str) -> list[list[int]]:
        """The token ids of each Han character or English word of normalised text."""
        return [self._encode_word(word) for word in (to_capitals(text) if self.upper_case else text).split()]

    def encode(self, text: str) -> list[int]:
        """The token ids of normalised text."""
        return [i for ids in self.encode_words(text) for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The normalised text of token ids: a space around each Han character and between English words."""
        return " ".join(word.text for word in self.words(list(ids)))

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        """The Han characters and words that token ids decode to; a token without text belongs to no span."""
        spans = [s for s in self._spans(ids) if s.text]
        return [WordSpan(from_capitals(s.text), s.begin, s.end) for s in spans] if self.upper_case else spans

    def _spans(self, ids: Sequence[int]) -> Iterator[WordSpan]:
        open_word: WordSpan | None = None  # the next piece may continue it
        for index, i in enumerate(ids):
            if i in self.special.silent:
                continue
            symbol = UNK if i == self.special.unk else self.symbols[i]
            if open_word is not None and not (is_han(symbol) or symbol == UNK or symbol.startswith(WORD_START)):
                open_word = WordSpan(open_word.text + symbol, open_word.begin, index + 1)
                continue
            if open_word is not None:
                yield open_word
            open_word = WordSpan(symbol.lstrip(WORD_START), index, index + 1)
            if is_han(symbol) or symbol == UNK:
                yield open_word
                open_word = None
        if open_word is not None:
            yield open_word

    def _encode_word(self, word: str) -> list[int]:
        assert self.bpe is not None
        pieces = [word] if len(word) == 1 and is_han(word) else self.bpe.encode(word, out_type=str)
        return [self._text_id(self.ids.get(piece, self.special.unk)) for piece in pieces]

    def _text_id(self, token_id: int) -> int:
        """The id, or that of the unknown token in place of a silent one: for a word that is spelled <blk>."""
        return self.special.unk if token_id in self.special.silent else token_id


class PieceTable(TokenTable):
    """The tokens are the pieces of a sentencepiece model of text (kind bpe) or of byte characters (kind bbpe).

    Text is prepared as in icefall's multi_zh_en: a space around each Chinese character, as normalised text has it;
    capitals if the table has capitals; for bbpe, bytes as characters. No piece crosses a space, so words can be encoded
    one by one. In a hypothesis a piece may hold the end of one character and the beginning of the next, or several
    characters if the model was trained without spaces: these words then share the token.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        bpe: spm.SentencePieceProcessor,
        upper_case: bool,
        of_bytes: bool,
        special: SpecialTokens | None = None,
    ) -> None:
        """
        Args:
          symbols, bpe, upper_case, special: as for TokenTable; symbols are the pieces of the model.
          of_bytes: the model was trained on byte characters.
        """
        super().__init__(symbols, bpe, upper_case, special or special_pieces(symbols, bpe))
        self.pieces = bpe
        self.kind = "bbpe" if of_bytes else "bpe"
        self._of_bytes = of_bytes
        self._bytes = [self._bytes_of(i) for i in range(len(self.symbols))]

    def _bytes_of(self, token_id: int) -> bytes:
        """The UTF-8 bytes that a token adds to the text."""
        symbol = self.symbols[token_id]
        if token_id in self.special.silent:
            return b""
        if token_id == self.special.unk:
            return f" {UNK} ".encode()
        if self.pieces.is_byte(token_id):  # such as <0xE6>, if the model has byte fallback
            return bytes([int(symbol[3:-1], 16)])
        parts = symbol.split(WORD_START)
        return b" ".join(from_byte_chars(p) if self._of_bytes else p.encode("utf-8") for p in parts)

    def _spans(self, ids: Sequence[int]) -> Iterator[WordSpan]:
        data = b"".join(self._bytes[i] for i in ids)
        token_of = [index for index, i in enumerate(ids) for _ in self._bytes[i]]
        word: WordSpan | None = None  # the next character may continue it
        space: int | None = None  # token of the space before the next character; the word begins there
        for char, first, last in valid_characters(data):
            continues = word is not None and space is None and not is_han(char) and not is_han(word.text)
            if word is not None and not continues:
                yield word
                word = None
            if char.isspace():
                space = token_of[first]
            elif word is not None:
                word = WordSpan(word.text + char, word.begin, token_of[last - 1] + 1)
            else:
                word = WordSpan(char, token_of[first] if space is None else space, token_of[last - 1] + 1)
                space = None
        if word is not None:
            yield word

    def _encode_word(self, word: str) -> list[int]:
        ids = self.pieces.encode(to_byte_chars(word) if self._of_bytes else word, out_type=int)
        return [self._text_id(i) for i in ids]


def special_pieces(symbols: Sequence[str], bpe: spm.SentencePieceProcessor, where: str = "tokens.txt") -> SpecialTokens:
    """The special tokens of a vocabulary that is the pieces of a model, which says what is unknown, control or a byte.

    Raises:
      DataError: see special_tokens.
    """
    controls = [i for i in range(len(symbols)) if bpe.is_control(i)]
    return special_tokens(symbols, bpe.unk_id(), controls, bpe.is_byte, where)


def to_capitals(text: str) -> str:
    """The text in capitals, except letters that `from_capitals` would not restore."""
    return "".join(u if len(u := c.upper()) == 1 and u.lower() == c else c for c in text)


def from_capitals(text: str) -> str:
    """The text in small letters, except letters that `to_capitals` would not restore."""
    return "".join(w if len(w := c.lower()) == 1 and w.upper() == c else c for c in text)
