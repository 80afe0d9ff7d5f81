"""The recipe's tokens as one sentencepiece model, the form in which icefall's scripts read them: the same ids.

A Han character, which stands between spaces in normalised text, is there the piece `▁` + character; English pieces and
the order of their merges stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

from lhotse_prep.text.normalize import is_han
from lhotse_prep.tokens.token_table import BLANK, SOS_EOS, UNK, UNK_ID, WORD_START, TokenTable
from lhotse_prep.workflow.errors import DataError


def sentencepiece_model(tokens: TokenTable) -> bytes:
    """A serialised model whose piece i is token i."""
    proto: Any = sentencepiece_model_pb2  # its classes are made when it is imported
    model = proto.ModelProto()
    model.ParseFromString(tokens.bpe.serialized_model_proto())
    scores = {piece.piece: piece.score for piece in model.pieces}
    last = min(scores.values()) - 1.0  # a character's two halves are merged after all English
    kinds = proto.ModelProto.SentencePiece
    del model.pieces[:]
    for symbol in tokens.symbols:
        piece, kind = symbol, kinds.NORMAL
        if symbol in (BLANK, SOS_EOS):
            kind = kinds.CONTROL
        elif symbol == UNK:
            kind = kinds.UNKNOWN
        elif is_han(symbol):
            piece = WORD_START + symbol
        model.pieces.add(piece=piece, score=scores.get(symbol, last), type=kind)
    model.trainer_spec.unk_id = UNK_ID
    model.trainer_spec.vocab_size = len(tokens)
    return model.SerializeToString()


def require_same_ids(model: bytes, tokens: TokenTable, texts: Iterable[str]) -> None:
    """Check that a model gives texts the ids that the tokens give them, and the texts back.

    Raises:
      DataError: it does not, for example for characters that min_char_count made <unk>.
    """
    sp = spm.SentencePieceProcessor(model_proto=model)
    for text in texts:
        ids = tokens.encode(text)
        if sp.encode(text) != ids or (UNK_ID not in ids and sp.decode(ids) != text):
            raise DataError(
                f"icefall's sentencepiece cannot give {text[:60]!r} the token ids that it has here; "
                "make the tokens anew with min_char_count: 1 (prep.yaml, lang), or train with --trainer ml2021"
            )


def num_with_other_ids(model: bytes, tokens: TokenTable, texts: Iterable[str]) -> int:
    """How many texts a model gives other ids: a Han character that the tokens lack is a `▁` more to it."""
    sp = spm.SentencePieceProcessor(model_proto=model)
    return sum(sp.encode(text) != tokens.encode(text) for text in texts)
