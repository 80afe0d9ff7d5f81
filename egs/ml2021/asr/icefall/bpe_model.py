"""Convert the recipe's tokens to one sentencepiece model with the same ids, the format that icefall's scripts read.

Tokens of kind bpe are one already. For char+bpe, normalised text has spaces around every Han character, so its piece is
`▁` + character. English pieces and the order of their merges do not change.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.special_tokens import BLANK, BLANK_ID, SOS_EOS, UNK
from lhotse_prep.tokens.token_table import WORD_START, TokenTable
from lhotse_prep.workflow.errors import DataError


def sentencepiece_model(tokens: TokenTable) -> bytes:
    """Return a serialised sentencepiece model whose piece i is token i.

    The blank, the unknown token and the sentence mark get the names by which icefall's scripts know them.

    Raises:
      DataError: icefall's script would encode or write texts in another way than our recogniser.
    """
    if tokens.kind not in ("char+bpe", "bpe") or tokens.upper_case:
        capitals = " in capitals" if tokens.upper_case else ""
        raise DataError(
            f"--trainer icefall cannot use tokens of kind {tokens.kind}{capitals}: its recipe takes texts as they are, "
            "for a BPE; use --trainer ml2021, which trains and decodes the same model"
        )
    assert tokens.bpe is not None
    special = tokens.special
    names = {BLANK_ID: BLANK, special.unk: UNK} | ({} if special.sentence is None else {special.sentence: SOS_EOS})
    proto: Any = sentencepiece_model_pb2  # untyped: its classes are created at import
    model = proto.ModelProto()
    model.ParseFromString(tokens.bpe.serialized_model_proto())
    if tokens.kind == "bpe":
        for i, name in names.items():
            model.pieces[i].piece = name
        same: bytes = model.SerializeToString()
        return same
    scores = {piece.piece: piece.score for piece in model.pieces}
    last = min(scores.values()) - 1.0  # merge `▁` and a character only after all English merges
    kinds = proto.ModelProto.SentencePiece
    del model.pieces[:]
    for i, symbol in enumerate(tokens.symbols):
        piece, kind = names.get(i, symbol), kinds.NORMAL
        if i in special.silent:
            kind = kinds.CONTROL
        elif i == special.unk:
            kind = kinds.UNKNOWN
        elif is_han(symbol):
            piece = WORD_START + symbol
        model.pieces.add(piece=piece, score=scores.get(symbol, last), type=kind)
    model.trainer_spec.unk_id = special.unk
    model.trainer_spec.vocab_size = len(tokens)
    serialised: bytes = model.SerializeToString()
    return serialised


def require_same_ids(model: bytes, tokens: TokenTable, texts: Iterable[str]) -> None:
    """Check that a model encodes texts to the same ids as the tokens do, and decodes them to the same texts.

    Raises:
      DataError: it does not, for example because min_char_count turned a character into <unk>.
    """
    sp = spm.SentencePieceProcessor(model_proto=model)
    for text in texts:
        ids = tokens.encode(text)
        if sp.encode(text) != ids or (tokens.special.unk not in ids and sp.decode(ids) != text):
            raise DataError(
                f"sentencepiece, which icefall uses, does not encode {text[:60]!r} to the token ids of this recipe; "
                "make the tokens again with min_char_count: 1 (prep.yaml, lang), or train with --trainer ml2021"
            )


def num_with_other_ids(model: bytes, tokens: TokenTable, texts: Iterable[str]) -> int:
    """Count the texts that a model encodes to other ids: it adds a `▁` before each Han character without a token."""
    sp = spm.SentencePieceProcessor(model_proto=model)
    return sum(sp.encode(text) != tokens.encode(text) for text in texts)
