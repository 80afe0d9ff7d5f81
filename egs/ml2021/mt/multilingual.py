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
DEFAULTS = {"source": ("zho_Hant", "zh"), "target": ("eng_Latn", "en")}  # codes of NLLB and of M2M100
_LANGUAGE = re.compile(r"__([a-z]+)__|([a-z]{3}_[A-Z][a-z]{3})")  # language pieces of M2M100 and of NLLB


class MultilingualVocabulary(Vocabulary):
    """A tokenizer of transformers. The decoder starts with `</s>`, and padding is an ordinary piece."""

    start = EOS
    max_unnamed = 8  # M2M100 is padded to a round size with "madeupword" ids; NLLB has a few such ids too

    def __init__(self, folder: Path, source_lang: str = "", target_lang: str = "") -> None:
        """
        Args:
          source_lang, target_lang: languages of a published model, in its own codes; if empty, Chinese (Traditional
            script if it has one) and English. A model that was trained here has languages.json.
        Raises:
          DataError: the tokenizer in folder cannot be read.
          ConfigError: the model does not have the languages, or languages.json names others.
        """
        self._is_published = is_published = not (folder / LANGUAGES).is_file()
        languages = {"source": source_lang, "target": target_lang}
        if not is_published:
            languages = _trained_languages(folder, languages)
        self.tokenizer = read_tokenizer(folder)
        pieces = {_code(p): p for p in sorted(self.tokenizer.get_vocab()) if _LANGUAGE.fullmatch(p)}
        for side in ("source", "target"):
            code = languages.get(side)
            if is_published and not code:
                code = languages[side] = next((c for c in DEFAULTS[side] if c in pieces), DEFAULTS[side][0])
            if code not in pieces:
                section = "translate" if is_published else "mt"
                raise ConfigError(
                    f"{section}.{side}_lang must be a language of the model, got {code!r}; it has {', '.join(pieces)}"
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
        if self._is_published:  # converted elsewhere, perhaps in another order; CTranslate2 is given pieces, not ids
            return not set(self.ids) - set(pieces) - set(self.tokenizer.all_special_tokens)
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
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as e:  # of tokenizers, transformers, sentencepiece or a missing package: each has its own
        reason = str(e).strip() or type(e).__name__
        raise DataError(f"the tokenizer in {folder} cannot be read: {reason.splitlines()[0]}") from e


def _trained_languages(folder: Path, wanted: dict[str, str]) -> dict[str, str]:
    """The languages of a model trained here; ConfigError if others are wanted."""
    path = folder / LANGUAGES
    try:
        languages = {side: str(json.loads(path.read_text(encoding="utf-8"))[side]) for side in wanted}
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path} is damaged ({e}); copy it again, or train the translator again (stage 8)") from e
    for side, code in wanted.items():
        if code not in ("", languages[side]):
            raise ConfigError(
                f"translate.{side}_lang is {code!r}, but the model in {folder} was trained with {languages[side]!r}: "
                f"remove translate.{side}_lang from mt.yaml"
            )
    return languages


def _code(piece: str) -> str:
    """The language code of a piece: zh of __zh__, zho_Hant as it is."""
    return piece.strip("_")
