"""Punctuation for recognised words: sherpa-onnx's ct-transformer models (Chen et al., 2020), run by ONNX Runtime.

Such a model is a folder with model.onnx or model.int8.onnx, whose metadata has its characters and marks. sherpa-onnx
ends the process on a damaged model, gives a text without the places of its words, and reads a long text again for each
sentence; here, the model gives a mark after each word, and a lecture goes through it in windows of constant size.

T tokens (Han characters and words of other letters), P marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.chinese_script import converter
from lhotse_prep.workflow.errors import DataError

_FILES = ("model.onnx", "model.int8.onnx")
_METADATA = ("tokens", "punctuations", "unk_symbol")
_NONE = ("_", "<unk>")  # marks of the model that mean none
_SENTENCE_ENDS, _CLAUSE_ENDS = "。？", "，、"
_ASCII = {"，": ",", "。": ".", "？": "?", "、": ",", "！": "!"}  # in English text
_WINDOW, _MARGIN = 240, 60  # tokens of a window, and those at its inner edges whose marks come from its neighbour
_NEIGHBOURS = 8  # words on each side that decide whether a mark is in Chinese or in English text


class Punctuator:
    """Says which mark follows each word of a lecture."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
          folder: of the model, or its .onnx file.
        Raises:
          DataError: there is no such model, or it is damaged or another kind of model.
        """
        self.path = _model_file(folder)
        self._session = _open(self.path)
        metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        missing = [key for key in _METADATA if key not in metadata]
        if missing:
            raise DataError(
                f"{self.path}: no ct-transformer punctuation model of sherpa-onnx: its metadata has no "
                f"{', '.join(missing)}"
            )
        self._ids = {token: i for i, token in enumerate(metadata["tokens"].split("|"))}
        self._marks = metadata["punctuations"].split("|")
        if metadata["unk_symbol"] not in self._ids:
            raise DataError(f"{self.path}: its unk_symbol {metadata['unk_symbol']!r} is not one of its tokens")
        self._unknown = self._ids[metadata["unk_symbol"]]
        self._check()

    def sentence_ends(self, words: Sequence[str]) -> list[str]:
        """The mark after each word (， 。 ？ 、 as the model has them, or , . ? in English text), "" for none.

        Args:
          words: of a whole lecture, Han characters in either script and words of other letters.
        """
        tokens, ends = [], []
        for word in words:
            tokens += self._tokens(word)
            ends.append(len(tokens) - 1)
        ids = self._best_marks(np.array(tokens, dtype=np.int32))
        marks = ["" if self._marks[ids[end]] in _NONE else self._marks[ids[end]] for end in ends]
        if marks and marks[-1] in ("", *_CLAUSE_ENDS):
            marks[-1] = _SENTENCE_ENDS[0]
        chinese = [any(map(is_han, word)) for word in words]
        return [
            mark if any(chinese[max(0, i - _NEIGHBOURS) : i + _NEIGHBOURS + 1]) else _ASCII.get(mark, mark)
            for i, mark in enumerate(marks)
        ]

    def _tokens(self, word: str) -> list[int]:
        """The ids of a word, which are at least one: of all of it, or of its parts between marks."""
        for form in (word.lower(), _simplified(word)):
            if form in self._ids:
                return [self._ids[form]]
        parts = "".join(c if c.isalnum() else " " for c in word.lower()).split()
        return [self._ids.get(part, self._unknown) for part in parts or [word]]

    def _best_marks(self, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        """Indices of marks, (T,). Each token is read with at least _MARGIN tokens on both sides where there are any."""
        best = np.zeros(len(tokens), dtype=np.int64)
        begin = 0
        while begin < len(tokens):
            first = max(0, begin - _MARGIN)
            stop = min(len(tokens), first + _WINDOW)
            end = stop if stop == len(tokens) else stop - _MARGIN
            best[begin:end] = self._logits(tokens[first:stop])[begin - first : end - first].argmax(axis=1)
            begin = end
        return best

    def _logits(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Args: tokens, (T,). Returns: (T, P)."""
        names = [i.name for i in self._session.get_inputs()]
        values = [tokens[None], np.array([len(tokens)], dtype=np.int32)]
        result: NDArray[np.float32] = self._session.run(None, dict(zip(names, values, strict=True)))[0][0]
        return result

    def _check(self) -> None:
        """Run the model once.

        Raises:
          DataError: it does not give a finite number for each token and mark.
        """
        try:
            logits = self._logits(np.full(3, self._unknown, dtype=np.int32))
        except Exception as e:  # of ONNX Runtime, which has no base class of its own
            raise DataError(f"{self.path}: the model cannot be run ({_first_line(e)}); download it again") from e
        if logits.shape != (3, len(self._marks)) or not np.isfinite(logits).all():
            raise DataError(
                f"{self.path}: the model gives numbers of shape {logits.shape} for 3 tokens and {len(self._marks)} "
                "marks, or such as are not finite; it is damaged or another kind of model"
            )


def _model_file(folder: Path) -> Path:
    if folder.is_file():
        return folder
    for name in _FILES:
        if (folder / name).is_file():
            return folder / name
    reason = "it does not exist" if not folder.is_dir() else f"it has neither {_FILES[0]} nor {_FILES[1]}"
    raise DataError(
        f"{folder}: no punctuation model: {reason}; give a folder such as "
        "sherpa-onnx-punct-ct-transformer-zh-en-vocab272727-2024-04-12"
    )


def _open(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised too
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # of ONNX Runtime, which has no base class of its own
        raise DataError(f"{path}: no readable ONNX model ({_first_line(e)}); download it again") from e


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


@cache
def _simplified(word: str) -> str:
    return str(converter("t2s").convert(word)) if any(map(is_han, word)) else word
