"""Trains sentencepiece BPE models, of English words, of all text or of its bytes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import sentencepiece as spm

from lhotse_prep.tokens.byte_bpe import BYTE_CHARS, to_byte_chars
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.special_tokens import BLANK, SOS_EOS
from lhotse_prep.tokens.token_table import to_capitals

NUM_SPECIAL, UNK_ID = 3, 2  # <blk>, <sos/eos>, <unk>
_BPE_OPTIONS: dict[str, Any] = {
    "model_type": "bpe",
    "hard_vocab_limit": False,
    "character_coverage": 1.0,
    "normalization_rule_name": "identity",
    "bos_id": -1,
    "eos_id": -1,
    "pad_id": -1,
    "minloglevel": 2,
    "num_threads": 1,
    "max_sentence_length": 100_000,
    "split_by_unicode_script": False,
    "split_by_number": False,
    "split_digits": True,
}


def train_bpe(words: Counter[str], num_pieces: int) -> spm.SentencePieceProcessor:
    """A BPE of words with counts; it has fewer than num_pieces pieces if the words do not allow more."""
    words = words or Counter({"a": 1})  # a corpus without English also needs a model
    sentences = [word for word, count in sorted(words.items()) for _ in range(min(count, 1000))]
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=num_pieces, unk_id=0, **_BPE_OPTIONS
    )
    return spm.SentencePieceProcessor(model_proto=model.getvalue())


def train_pieces(words: Counter[str], config: LangConfig) -> spm.SentencePieceProcessor:
    """A model whose pieces are the tokens, in icefall's order: <blk>, <sos/eos>, <unk>, then BPE pieces of all words.

    A model of bytes (kind bbpe) has every byte as a piece, so it can encode any text.
    """
    if config.case == "upper":
        words = _map_words(words, to_capitals)
    alphabet = sorted({c for word in words for c in word})
    if config.kind == "bbpe":
        words, alphabet = _map_words(words, to_byte_chars), [c for c in BYTE_CHARS if c != " "]
    sentences = [word for word, count in sorted(words.items()) for _ in range(min(count, 1000))]
    num_pieces = max(config.num_pieces, len(alphabet) + NUM_SPECIAL + 1)
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=num_pieces,
        unk_id=UNK_ID,
        control_symbols=[BLANK, SOS_EOS],
        required_chars="".join(alphabet),
        **_BPE_OPTIONS,
    )
    return spm.SentencePieceProcessor(model_proto=model.getvalue())


def _map_words(words: Counter[str], change: Callable[[str], str]) -> Counter[str]:
    """The counts of the changed words."""
    counts = Counter[str]()
    for word, count in words.items():
        counts[change(word)] += count
    return counts
