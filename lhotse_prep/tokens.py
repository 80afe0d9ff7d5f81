"""Text <-> token ids: each Han character is a token, everything else is split by an English BPE. Blank is 0.

A lang folder holds `tokens.txt` (`token id` a line, `<blk> 0`), `bpe.model` (sentencepiece), `lang.json` (sizes, hash).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece as spm

from lhotse_prep.errors import DataError
from lhotse_prep.normalize import is_han
from lhotse_prep.prep_config import LangConfig
from lhotse_prep.stages import whole_file, write_json, write_text

BLANK, SOS_EOS, UNK = "<blk>", "<sos/eos>", "<unk>"
SPECIAL = (BLANK, SOS_EOS, UNK)
BLANK_ID, UNK_ID = 0, 2
WORD_START = "▁"


class TokenTable:
    """The tokens of a lang folder."""

    def __init__(self, symbols: Sequence[str], bpe: spm.SentencePieceProcessor) -> None:
        self.symbols = list(symbols)
        self.ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self.bpe = bpe

    def __len__(self) -> int:
        return len(self.symbols)

    def encode_words(self, text: str) -> list[list[int]]:
        """Ids of each space-separated unit of normalised text (a Han character or an English word)."""
        return [self._encode_word(word) for word in text.split()]

    def encode(self, text: str) -> list[int]:
        """Ids of normalised text."""
        return [i for ids in self.encode_words(text) for i in ids]

    def decode(self, ids: Iterable[int]) -> str:
        """Normalised text of ids: a space around each Han character and between English words."""
        words: list[str] = []
        open_word = False  # whether the next piece may go on the last word
        for i in ids:
            symbol = self.symbols[i]
            if symbol in (BLANK, SOS_EOS):
                continue
            if is_han(symbol) or symbol == UNK:
                words.append(symbol)
                open_word = False
            elif symbol.startswith(WORD_START) or not open_word:
                words.append(symbol.lstrip(WORD_START))
                open_word = True
            else:
                words[-1] += symbol
        return " ".join(w for w in words if w)

    def starts_word(self, token_id: int) -> bool:
        """True where the token begins a unit of normalised text."""
        symbol = self.symbols[token_id]
        return is_han(symbol) or symbol.startswith(WORD_START) or symbol in SPECIAL

    def is_whole_word(self, token_id: int) -> bool:
        """True where the token is a unit of text by itself: a Han character or <unk>."""
        symbol = self.symbols[token_id]
        return is_han(symbol) or symbol in SPECIAL

    def _encode_word(self, word: str) -> list[int]:
        if len(word) == 1 and is_han(word):
            return [self.ids.get(word, UNK_ID)]
        return [self.ids.get(piece, UNK_ID) for piece in self.bpe.encode(word, out_type=str)]


def train_bpe(words: Counter[str], num_pieces: int) -> spm.SentencePieceProcessor:
    """BPE over words with their counts; fewer pieces than asked for where the words allow no more."""
    words = words or Counter({"a": 1})  # a corpus with no English still has a model
    model = io.BytesIO()
    sentences = [word for word, count in sorted(words.items()) for _ in range(min(count, 1000))]
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", vocab_size=num_pieces,
        hard_vocab_limit=False, character_coverage=1.0, normalization_rule_name="identity", unk_id=0,
        bos_id=-1, eos_id=-1, pad_id=-1, minloglevel=2, num_threads=1, max_sentence_length=100_000,
        split_by_unicode_script=False, split_by_number=False, split_digits=True,
    )  # fmt: skip
    return spm.SentencePieceProcessor(model_proto=model.getvalue())


def make_lang(texts: Iterable[str], english_texts: Iterable[str], lang_dir: Path, config: LangConfig) -> TokenTable:
    """Write a lang folder.

    Args:
      texts: normalised transcripts of the recordings to train on: their characters become tokens.
      english_texts: more transcripts, from which only the BPE learns.
    Raises:
      DataError: the texts are empty.
    """
    chars, words = Counter[str](), Counter[str]()
    for text in texts:
        for word in text.split():
            (chars if len(word) == 1 and is_han(word) else words)[word] += 1
    if not chars and not words:
        raise DataError("the training transcripts are empty: there is nothing to make tokens of")
    for text in english_texts:
        words.update(w for w in text.split() if not (len(w) == 1 and is_han(w)))
    alphabet = {c for word in words for c in word}
    bpe = train_bpe(words, max(config.num_english_pieces, len(alphabet) + 2))
    pieces = [bpe.id_to_piece(i) for i in range(bpe.get_piece_size()) if not bpe.is_unknown(i)]
    han = sorted(c for c, n in chars.items() if n >= config.min_char_count)
    symbols = [*SPECIAL, *han, *[p for p in pieces if p not in set(han)]]
    lang_dir.mkdir(parents=True, exist_ok=True)
    write_text(lang_dir / "tokens.txt", "".join(f"{s} {i}\n" for i, s in enumerate(symbols)))
    with whole_file(lang_dir / "bpe.model", "wb") as f:
        f.write(bpe.serialized_model_proto())
    info = {"num_tokens": len(symbols), "num_han": len(han), "num_pieces": len(pieces), "hash": lang_hash(lang_dir)}
    write_json(lang_dir / "lang.json", info)
    return TokenTable(symbols, bpe)


def load_lang(lang_dir: Path) -> TokenTable:
    """Read a lang folder.

    Raises:
      DataError: a file is missing, a line is not `token id`, ids have gaps, or the hash in lang.json differs.
    """
    for name in ("tokens.txt", "bpe.model", "lang.json"):
        if not (lang_dir / name).is_file():
            raise DataError(f"{lang_dir / name} is missing; make it with ./run.sh --stage 2 --stop-stage 2")
    symbols = []
    for number, line in enumerate((lang_dir / "tokens.txt").read_text(encoding="utf-8").splitlines(), 1):
        symbol, _, index = line.rpartition(" ")
        if not symbol or index != str(number - 1):
            raise DataError(f"{lang_dir}/tokens.txt, line {number}: expected 'token {number - 1}', got {line!r}")
        symbols.append(symbol)
    try:
        expected_hash = json.loads((lang_dir / "lang.json").read_text(encoding="utf-8"))["hash"]
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{lang_dir}/lang.json is damaged ({e!r}); run stage 2 again") from e
    if expected_hash != lang_hash(lang_dir):
        raise DataError(f"{lang_dir}: tokens.txt or bpe.model changed after lang.json was written; run stage 2 again")
    bpe = spm.SentencePieceProcessor(model_proto=(lang_dir / "bpe.model").read_bytes())
    return TokenTable(symbols, bpe)


def lang_hash(lang_dir: Path) -> str:
    """Hash of tokens.txt and bpe.model: a checkpoint names the one it was trained with."""
    content = (lang_dir / "tokens.txt").read_bytes() + (lang_dir / "bpe.model").read_bytes()
    return hashlib.sha256(content).hexdigest()
