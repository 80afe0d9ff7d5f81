"""Pieces and their ids, and the special pieces that a family of models puts around a sentence.

Marian models translate one pair of languages. Those trained here have one sentencepiece model for both languages,
stored in the files of a MarianTokenizer.
"""

from __future__ import annotations

import io
import json
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from lhotse_prep.text.normalize import remove_han_spaces
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json

FILES = ("source.spm", "target.spm", "vocab.json")
SOURCE_STYLE = "source_text.json"  # {"spaced": false}: no spaces between Chinese characters; without the file: spaces
EOS, UNK, PAD = "</s>", "<unk>", "<pad>"


class Vocabulary(ABC):
    """The pieces of a model, as training, decoding and export use them.

    The encoder reads source_prefix, the pieces of a sentence and `</s>`. The decoder starts with `start` and writes
    target_prefix (at most one piece, which is forced), pieces and `</s>`.
    """

    start: str
    source_prefix: tuple[str, ...] = ()
    target_prefix: tuple[str, ...] = ()
    outputs = slice(None)  # ids that a translation may contain in training
    max_unnamed = 0  # largest number of the model's ids that have no piece

    def __init__(self, folder: Path, ids: dict[str, int], spaced: bool) -> None:
        """
        Args:
          folder: folder of its files.
          ids: {piece: id} of all pieces.
          spaced: whether sources have spaces between Chinese characters.
        """
        self.folder, self.ids, self.spaced = folder, ids, spaced
        self.pieces = {i: p for p, i in ids.items()}

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def start_id(self) -> int:
        return self.ids[self.start]

    @property
    def prefix_ids(self) -> list[int]:
        """Ids of source_prefix."""
        return [self.ids[p] for p in self.source_prefix]

    @property
    def first_id(self) -> int | None:
        """Id of the piece that every translation must begin with; None if there is no such piece."""
        return self.ids[self.target_prefix[0]] if self.target_prefix else None

    def source_text(self, tokens: Sequence[str]) -> str:
        """The text that is split into source pieces. With spaces, every Chinese character is a separate piece."""
        text = " ".join(tokens)
        return text if self.spaced else remove_han_spaces(text)

    def source_pieces(self, text: str) -> list[str]:
        """The pieces of a source text, without prefix and end mark."""
        return [p if p in self.ids else UNK for p in self.split_source(text, 0.0)]

    def encode_source(self, text: str, dropout: float = 0.0) -> list[int]:
        """Ids of a source text, with the end mark, without the prefix.

        `dropout` is the probability of skipping a merge (BPE-dropout, Provilkov et al. 2020).
        """
        return [self.ids.get(p, self.ids[UNK]) for p in self.split_source(text, dropout)] + [self.ids[EOS]]

    def encode_target(self, text: str) -> list[int]:
        """Ids of a target text, with prefix and end mark."""
        pieces = (*self.target_prefix, *self.split_target(text), EOS)
        return [self.ids.get(p, self.ids[UNK]) for p in pieces]

    def decode_ids(self, ids: Sequence[int]) -> str:
        """The text of target ids; ids without a piece are left out."""
        return self.decode([self.pieces[i] for i in ids if i in self.pieces])

    def fits(self, config: Any) -> bool:
        """Whether a model's configuration fits this vocabulary."""
        unnamed = config.vocab_size - len(self)
        return bool(0 <= unnamed <= self.max_unnamed and config.decoder_start_token_id == self.start_id)

    @abstractmethod
    def split_source(self, text: str, dropout: float) -> list[str]:
        """Split a source text into pieces; the model may have no id for some of them."""

    @abstractmethod
    def split_target(self, text: str) -> list[str]:
        """Split a target text into pieces."""

    @abstractmethod
    def decode(self, pieces: Sequence[str]) -> str:
        """The text of target pieces, without special pieces."""

    @abstractmethod
    def in_ctranslate2(self, pieces: Sequence[str]) -> bool:
        """Whether CTranslate2's list of pieces, ordered by id, is that of this vocabulary."""

    @abstractmethod
    def content(self) -> bytes:
        """Bytes that differ between different vocabularies, to hash."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write all files that load_vocabulary and the tokenizer of transformers need."""


class MarianVocabulary(Vocabulary):
    """`</s>` has id 0, `<unk>` id 1, and `<pad>` the last id; `<pad>` starts the decoder, as in Marian."""

    start = PAD

    def __init__(self, folder: Path) -> None:
        missing = [f for f in FILES if not (folder / f).is_file()]
        if missing:
            raise DataError(f"no {missing[0]} in {folder}: train the translator (stage 8) or export again (stage 11)")
        self.spm = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self.target_spm = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
        style = folder / SOURCE_STYLE
        spaced: bool = json.loads(style.read_text(encoding="utf-8"))["spaced"] if style.is_file() else True
        super().__init__(folder, json.loads((folder / "vocab.json").read_text(encoding="utf-8")), spaced)
        if self.ids.get(EOS) != 0 or self.ids.get(PAD) != len(self.ids) - 1:
            raise DataError(f"{folder / 'vocab.json'} does not fit: {EOS} must have id 0 and {PAD} the last id")
        # CTranslate2 starts the decoder of a Marian model with zeros, so the embedding of padding must stay zero: it is
        # left out of the softmax, whose weights are the embeddings.
        self.outputs = slice(self.start_id)

    def split_source(self, text: str, dropout: float) -> list[str]:
        sampling: dict[str, Any] = {"enable_sampling": True, "alpha": dropout, "nbest_size": -1} if dropout > 0 else {}
        pieces: list[str] = self.spm.encode(text, out_type=str, **sampling)
        return pieces

    def split_target(self, text: str) -> list[str]:
        pieces: list[str] = self.target_spm.encode(text, out_type=str)
        return pieces

    def decode(self, pieces: Sequence[str]) -> str:
        text: str = self.target_spm.decode_pieces([p for p in pieces if p not in (EOS, PAD, UNK)])
        return text.strip()

    def in_ctranslate2(self, pieces: Sequence[str]) -> bool:
        return list(pieces) == [p for p in self.ids if p != PAD]  # CTranslate2 has no padding

    def content(self) -> bytes:
        return b"".join((self.folder / f).read_bytes() for f in FILES)

    def save(self, folder: Path) -> None:
        from transformers import MarianTokenizer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends sacremoses, which would change the text
            source, target, vocab = (str(self.folder / f) for f in FILES)
            MarianTokenizer(source, target, vocab).save_pretrained(folder)
        if not self.spaced:
            write_json(folder / SOURCE_STYLE, {"spaced": False})


def train_vocabulary(sources: Sequence[str], targets: Sequence[str], vocab_size: int, folder: Path) -> MarianVocabulary:
    """Train a sentencepiece BPE model on both sides and write the files of a MarianTokenizer to folder.

    The number of pieces is at least that of characters, and at most what the texts allow.

    Raises:
      DataError: the texts are empty.
    """
    alphabet = {c for text in (*sources, *targets) for c in text}
    if not alphabet - {" "}:
        raise DataError("the sentence pairs are empty: there is no text to train a vocabulary on")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sources, *targets]),
        model_writer=model,
        model_type="bpe",
        vocab_size=max(vocab_size, len(alphabet) + 5),
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        user_defined_symbols=["-"],  # splits self-attention and forty-two into known words
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.spm").write_bytes(model.getvalue())
    shutil.copyfile(folder / "source.spm", folder / "target.spm")
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    learned = [spm.id_to_piece(i) for i in range(len(spm)) if not (spm.is_control(i) or spm.is_unknown(i))]
    write_json(folder / "vocab.json", {p: i for i, p in enumerate([EOS, UNK, *learned, PAD])})
    return MarianVocabulary(folder)
