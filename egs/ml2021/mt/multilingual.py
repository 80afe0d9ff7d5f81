"""The vocabulary of M2M100 and NLLB models: their own tokenizer, and a piece for the language of each side."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from ml2021.mt.vocabulary import EOS, SourceStyle, Vocabulary

LANGUAGES = "languages.json"  # {"source": "zho_Hant", "target": "eng_Latn"}
_LANGUAGE = re.compile(r"__([a-z]+)__|([a-z]{3}_[A-Z][a-z]{3})")  # language pieces of M2M100 and of NLLB


class MultilingualVocabulary(Vocabulary):
    """A tokenizer of transformers. The decoder starts with `</s>`, and padding is an ordinary piece."""

    start = EOS
    max_unnamed = 8  # M2M100 is padded to a round size with "madeupword" ids; NLLB has a few such ids too

    def __init__(self, folder: Path) -> None:
        """
        Raises:
          DataError: the tokenizer in folder cannot be read.
          ConfigError: the model does not have the languages that languages.json names.
        """
        languages = json.loads((folder / LANGUAGES).read_text(encoding="utf-8"))
        self.tokenizer = read_tokenizer(folder)
        pieces = {_code(p): p for p in sorted(self.tokenizer.get_vocab()) if _LANGUAGE.fullmatch(p)}
        for side in ("source", "target"):
            code = languages.get(side)
            if code not in pieces:
                raise ConfigError(
                    f"mt.{side}_lang must be a language of the model, got {code!r}; it has {', '.join(pieces)}"
                )
        super().__init__(folder, self.tokenizer.get_vocab(), SourceStyle.read(folder, spaced=False))
        self.source_prefix, self.target_prefix = (pieces[languages["source"]],), (pieces[languages["target"]],)
        self.marks = {*self.tokenizer.all_special_tokens, *pieces.values()}

    def split_source(self, text: str) -> list[str]:
        return self.split_target(text)

    def split_with_dropout(self, text: str, dropout: float, rng: random.Random) -> list[str]:
        raise AssertionError("published models are trained without BPE-dropout")

    def split_target(self, text: str) -> list[str]:
        pieces: list[str] = self.tokenizer.tokenize(text)
        return pieces

    def decode(self, pieces: Sequence[str]) -> str:
        without_marks = [p for p in pieces if p in self.ids and p not in self.marks]
        text: str = self.tokenizer.convert_tokens_to_string(without_marks)
        return text.strip()

    def in_ctranslate2(self, pieces: Sequence[str]) -> bool:
        return list(pieces[: len(self)]) == [self.pieces.get(i) for i in range(len(self))]

    def content(self) -> bytes:
        return json.dumps([self.ids, self.source_prefix, self.target_prefix], sort_keys=True).encode()

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        codes = (_code(self.source_prefix[0]), _code(self.target_prefix[0]))
        write_json(folder / LANGUAGES, dict(zip(("source", "target"), codes)))
        self.style.write(folder)


def read_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder; raises DataError if transformers cannot read it."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as e:
        raise DataError(f"the tokenizer in {folder} cannot be read: {str(e).splitlines()[0]}") from e


def _code(piece: str) -> str:
    """The language code of a piece: zh of __zh__, zho_Hant as it is."""
    return piece.strip("_")
