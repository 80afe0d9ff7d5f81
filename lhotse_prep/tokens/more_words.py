"""A token table with more words at its end, each of which is a token: for words that the table itself cannot write."""

from __future__ import annotations

from collections.abc import Sequence

from lhotse_prep.tokens.token_table import TokenTable, WordSpan


class TableWithWords(TokenTable):
    """A table whose last ids are whole words. Texts are encoded without these ids."""

    def __init__(self, table: TokenTable, words: Sequence[str]) -> None:
        """
        Args:
          table: the tokens before.
          words: Han characters and English words of normalised text.
        """
        super().__init__([*table.symbols, *words], table.bpe, table.upper_case, table.special)
        self.kind, self.table = table.kind, table

    def encode_words(self, text: str) -> list[list[int]]:
        return self.table.encode_words(text)

    def words(self, ids: Sequence[int]) -> list[WordSpan]:
        first_word, begin = len(self.table), 0
        spans = list[WordSpan]()
        for index in [*(i for i, token in enumerate(ids) if token >= first_word), len(ids)]:
            of_table = self.table.words(ids[begin:index])
            spans += [WordSpan(s.text, begin + s.begin, begin + s.end) for s in of_table]
            if index < len(ids):
                spans.append(WordSpan(self.symbols[ids[index]], index, index + 1))
            begin = index + 1
        return spans


def with_words(table: TokenTable, words: Sequence[str]) -> TokenTable:
    """The table with more words, or itself if there are none."""
    return TableWithWords(table, words) if words else table


def can_write(table: TokenTable, word: str) -> bool:
    """Whether a word is the same after encoding and decoding, also beside itself."""
    ids = table.encode(word)
    return table.special.unk not in ids and table.decode([*ids, *ids]) == f"{word} {word}"
