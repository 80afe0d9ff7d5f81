"""Pieces of text and their ids: one sentencepiece model for both languages, in the files of a MarianTokenizer."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from lhotse_prep.errors import DataError
from lhotse_prep.normalize import remove_han_spaces
from lhotse_prep.stages import write_json

FILES = ("source.spm", "target.spm", "vocab.json")
SOURCE_STYLE = "source_text.json"  # {"spaced": false}: Chinese as it is written, without spaces; absent: with them
EOS, UNK, PAD = "</s>", "<unk>", "<pad>"


class Vocabulary:
    """Text <-> pieces <-> ids. `</s>` is 0, `<unk>` 1; `<pad>` is the last id and begins the decoder, as in Marian."""

    def __init__(self, folder: Path) -> None:
        missing = [f for f in FILES if not (folder / f).is_file()]
        if missing:
            raise DataError(f"no {missing[0]} in {folder}: train the translator (stage 8) or export again (stage 11)")
        self.folder = folder
        self.spm = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
        self.target_spm = sentencepiece.SentencePieceProcessor(model_file=str(folder / "target.spm"))
        self.ids: dict[str, int] = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        style = folder / SOURCE_STYLE
        self.spaced: bool = json.loads(style.read_text(encoding="utf-8"))["spaced"] if style.is_file() else True
        self.pieces = {i: p for p, i in self.ids.items()}
        if self.ids.get(EOS) != 0 or self.ids.get(PAD) != len(self.ids) - 1:
            raise DataError(f"{folder / 'vocab.json'} is not of this project: {EOS} must be 0 and {PAD} the last id")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def pad_id(self) -> int:
        return self.ids[PAD]

    def source_text(self, tokens: Sequence[str]) -> str:
        """What the encoder's sentencepiece reads. With spaces each Han character stays a piece of its own."""
        text = " ".join(tokens)
        return text if self.spaced else remove_han_spaces(text)

    def source_pieces(self, text: str) -> list[str]:
        """The pieces that the encoder reads, without the end mark."""
        return [p if p in self.ids else UNK for p in self.spm.encode(text, out_type=str)]

    def encode_source(self, text: str, dropout: float = 0.0) -> list[int]:
        """Ids with the end mark; with `dropout`, that part of the merges is left out at random (BPE-dropout)."""
        if dropout > 0:
            pieces = self.spm.encode(text, out_type=str, enable_sampling=True, alpha=dropout, nbest_size=-1)
        else:
            pieces = self.spm.encode(text, out_type=str)
        return [self.ids.get(p, self.ids[UNK]) for p in pieces] + [self.ids[EOS]]

    def encode_target(self, text: str) -> list[int]:
        """Ids of a translation, with the end mark."""
        return [self.ids.get(p, self.ids[UNK]) for p in self.target_spm.encode(text, out_type=str)] + [self.ids[EOS]]

    def decode(self, pieces: Sequence[str]) -> str:
        """The text of target pieces; marks are left out."""
        return self.target_spm.decode_pieces([p for p in pieces if p not in (EOS, PAD, UNK)]).strip()

    def decode_ids(self, ids: Sequence[int]) -> str:
        return self.decode([self.pieces[i] for i in ids])


def train_vocabulary(sources: Sequence[str], targets: Sequence[str], vocab_size: int, folder: Path) -> Vocabulary:
    """Train sentencepiece (BPE) on both sides and write the files of a MarianTokenizer to folder.

    There are as many pieces as characters at least, and no more than the texts allow.

    Raises:
      DataError: the texts are empty.
    """
    alphabet = {c for text in (*sources, *targets) for c in text}
    if not alphabet - {" "}:
        raise DataError("the sentence pairs are empty: there is nothing to make pieces of")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*sources, *targets]),
        model_writer=model,
        model_type="bpe",
        vocab_size=max(vocab_size, len(alphabet) + 5),
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        user_defined_symbols=["-"],  # self-attention and forty-two are made of known words
        num_threads=1,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.spm").write_bytes(model.getvalue())
    shutil.copyfile(folder / "source.spm", folder / "target.spm")
    spm = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    learned = [spm.id_to_piece(i) for i in range(len(spm)) if not (spm.is_control(i) or spm.is_unknown(i))]
    write_json(folder / "vocab.json", {p: i for i, p in enumerate([EOS, UNK, *learned, PAD])})
    return Vocabulary(folder)
