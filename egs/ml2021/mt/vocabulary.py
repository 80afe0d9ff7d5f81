"""Pieces and their ids, and the special pieces that a family of models puts around a sentence.

Marian models translate one pair of languages. Those trained here have one sentencepiece model for both languages,
stored in the files of a MarianTokenizer.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import sentencepiece

from lhotse_prep.text.normalize import remove_han_spaces
from lhotse_prep.workflow.errors import ConfigError, DataError, list_names
from lhotse_prep.workflow.files import write_json
from ml2021.mt.bpe_dropout import BpeDropout
from ml2021.mt.config import trained_context

FILES = ("source.spm", "target.spm", "vocab.json")
SOURCE_STYLE = "source_text.json"  # what a SourceStyle holds
EOS, UNK, PAD = "</s>", "<unk>", "<pad>"
DEFAULT_TARGET = ">>eng<<"  # piece before a source that asks a model of several target languages for English


@dataclass(frozen=True)
class SourceStyle:
    """How the sources of a model are written."""

    spaced: bool = True  # whether there are spaces between Chinese characters
    context: int = 0  # preceding sentences that the model was trained to read before each sentence

    def write(self, folder: Path) -> None:
        write_json(folder / SOURCE_STYLE, asdict(self))

    @staticmethod
    def read(folder: Path, spaced: bool) -> SourceStyle:
        """Read it from a model's folder.

        Version 0.2 wrote the context only into config.json of the training, in the folder above.

        Args:
          folder: folder of the model.
          spaced: the value if the folder has no SOURCE_STYLE.
        Raises:
          DataError: the file is damaged.
        """
        values: dict[str, Any] = {"spaced": spaced, "context": trained_context(folder.parent)}
        path = folder / SOURCE_STYLE
        try:
            values |= json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except (ValueError, TypeError) as e:
            raise DataError(f"{path} is damaged ({e}); copy it again, or train the translator again (stage 8)") from e
        style = SourceStyle(values["spaced"], values["context"])
        if type(style.spaced) is not bool or type(style.context) is not int or style.context < 0:
            raise DataError(f'{path} must be like {{"spaced": true, "context": 0}}, got {json.dumps(values)}')
        return style


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

    def __init__(self, folder: Path, ids: dict[str, int], style: SourceStyle) -> None:
        """
        Args:
          folder: folder of its files.
          ids: {piece: id} of all pieces.
          style: how sources are written.
        """
        self.folder, self.ids, self.style = folder, ids, style
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
        return text if self.style.spaced else remove_han_spaces(text)

    def source_pieces(self, text: str) -> list[str]:
        """The pieces of a source text, without prefix and end mark."""
        return [p if p in self.ids else UNK for p in self.split_source(text)]

    def encode_source(self, text: str) -> list[int]:
        """Ids of a source text, with the end mark, without the prefix."""
        return self._ids(self.split_source(text))

    def sample_source(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        """Like encode_source, with BPE-dropout: each merge is skipped with the probability `dropout`."""
        return self._ids(self.split_with_dropout(text, dropout, rng) if dropout else self.split_source(text))

    def encode_target(self, text: str) -> list[int]:
        """Ids of a target text, with prefix and end mark."""
        return self._ids((*self.target_prefix, *self.split_target(text)))

    def _ids(self, pieces: Sequence[str]) -> list[int]:
        """Ids of pieces, with the end mark."""
        return [self.ids.get(p, self.ids[UNK]) for p in pieces] + [self.ids[EOS]]

    def decode_ids(self, ids: Sequence[int]) -> str:
        """The text of target ids; ids without a piece are left out."""
        return self.decode([self.pieces[i] for i in ids if i in self.pieces])

    def fits(self, config: Any) -> bool:
        """Whether a model's configuration fits this vocabulary."""
        unnamed = config.vocab_size - len(self)
        starts = config.decoder_start_token_id == self.start_id and config.eos_token_id in (None, self.ids[EOS])
        return bool(0 <= unnamed <= self.max_unnamed and starts)

    @abstractmethod
    def split_source(self, text: str) -> list[str]:
        """Split a source text into pieces; the model may have no id for some of them."""

    @abstractmethod
    def split_with_dropout(self, text: str, dropout: float, rng: random.Random) -> list[str]:
        """Split a source text into pieces with BPE-dropout."""

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
    """`<pad>` has the last id and starts the decoder, as in Marian. In models trained here, `</s>` has id 0."""

    start = PAD

    def __init__(self, folder: Path, target_lang: str = "", pieces: Sequence[str] = ()) -> None:
        """
        Args:
          folder: folder of the files of a MarianTokenizer.
          target_lang: language that a published model of several target languages is to write, such as eng; if empty,
            English where the model has a choice.
          pieces: those of a CTranslate2 model, by id, in place of a missing vocab.json.
        Raises:
          DataError: a file is missing or damaged.
          ConfigError: the model does not have target_lang.
        """
        missing = [f for f in FILES if not (folder / f).is_file() and not (pieces and f == "vocab.json")]
        if missing:
            raise DataError(f"no {missing[0]} in {folder}: train the translator (stage 8) or export again (stage 11)")
        self.spm, self.target_spm = (_sentencepiece(folder / name) for name in FILES[:2])
        if (folder / "vocab.json").is_file():
            ids = _read_ids(folder / "vocab.json")
        else:
            ids = {p: i for i, p in enumerate([*(p for p in pieces if p != PAD), PAD])}
        # Models trained here have one sentencepiece model for both sides, unlike published ones.
        style = SourceStyle.read(folder, (folder / FILES[0]).read_bytes() == (folder / FILES[1]).read_bytes())
        super().__init__(folder, ids, style)
        if EOS not in self.ids or UNK not in self.ids or self.ids.get(PAD) != len(self.ids) - 1:
            raise DataError(f"{folder / 'vocab.json'} must have {EOS} and {UNK}, and {PAD} with the last id")
        if target_lang or (DEFAULT_TARGET in self.ids and not (folder / SOURCE_STYLE).is_file()):
            self.source_prefix = (self._target_piece(target_lang),)
        # CTranslate2 starts the decoder of a Marian model with zeros, so the embedding of padding must stay zero: it is
        # left out of the softmax, whose weights are the embeddings.
        self.outputs = slice(self.start_id)

    def _target_piece(self, target_lang: str) -> str:
        piece = f">>{target_lang}<<" if target_lang else DEFAULT_TARGET
        if piece not in self.ids:
            languages = [p[2:-2] for p in self.ids if p.startswith(">>") and p.endswith("<<")]
            has = f"it has {list_names(languages)}" if languages else "it has one pair of languages"
            raise ConfigError(
                f"translate.target_lang must be a language of the model in {self.folder}, got {target_lang!r}; {has}"
            )
        return piece

    def split_source(self, text: str) -> list[str]:
        pieces: list[str] = self.spm.encode(text, out_type=str)
        return pieces

    def split_with_dropout(self, text: str, dropout: float, rng: random.Random) -> list[str]:
        return self._bpe_dropout.split(text, dropout, rng)

    @cached_property
    def _bpe_dropout(self) -> BpeDropout:
        return BpeDropout(self.spm)

    def split_target(self, text: str) -> list[str]:
        pieces: list[str] = self.target_spm.encode(text, out_type=str)
        return pieces

    def decode(self, pieces: Sequence[str]) -> str:
        text: str = self.target_spm.decode_pieces([p for p in pieces if p not in (EOS, PAD, UNK)])
        return text.strip()

    def in_ctranslate2(self, pieces: Sequence[str]) -> bool:
        return [p for p in pieces if p != PAD] == [self.pieces.get(i) for i in range(len(self) - 1)]

    def content(self) -> bytes:
        return b"".join((self.folder / f).read_bytes() for f in FILES)

    def save(self, folder: Path) -> None:
        from transformers import MarianTokenizer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it recommends sacremoses, which would change the text
            source, target, vocab = (str(self.folder / f) for f in FILES)
            MarianTokenizer(source, target, vocab).save_pretrained(folder)
        self.style.write(folder)


def _sentencepiece(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as e:
        raise DataError(f"{path} cannot be read as a sentencepiece model; copy it again") from e


def _read_ids(path: Path) -> dict[str, int]:
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise DataError(f"{path} is damaged ({e}); copy it again") from e
    if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()):
        raise DataError(f"{path} is damaged: it must give an id for each piece; copy it again")
    return ids


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
