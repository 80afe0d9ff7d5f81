"""Hotwords in the forms that sherpa-onnx takes.

Transducers split terms into the tokens of the model, for which those with BPE need bpe.vocab (pieces and their scores).
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import ConfigError, DataError, list_names
from ml2021.asr.sherpa.catalog import FAMILIES
from ml2021.asr.sherpa.families import SherpaModel
from ml2021.asr.sherpa.token_table import SherpaTokens
from ml2021.asr.words.hotwords import Term, read_terms


def hotword_arguments(model: SherpaModel, tokens: SherpaTokens | None, path: Path, work_dir: Path) -> dict[str, Any]:
    """The arguments for hotwords of the family's factory; writes the files that they name to work_dir.

    Raises:
      ConfigError: the family takes no hotwords, or the folder lacks what they need.
      DataError: a line is wrong, or has a character that the model cannot emit.
    """
    family = model.family
    if family.hotwords_argument:
        return {family.hotwords_argument: ",".join(term.written.replace(",", " ") for term in read_terms(path))}
    if not family.beam_search or tokens is None:
        able = list_names([f.name for f in FAMILIES if f.beam_search or f.hotwords_argument])
        raise ConfigError(
            f"hotwords cannot be given to a {family.name} model in sherpa-onnx, only to {able}: leave them out"
        )
    if tokens.is_byte_bpe:
        raise ConfigError(
            f"{model.folder} has byte-BPE tokens, for which sherpa-onnx splits hotwords in another way than the model "
            "learned: leave them out"
        )
    terms = read_terms(path)
    only_han = all(is_han(c) for term in terms for c in term.text.replace(" ", ""))
    unit = "cjkchar" if only_han else tokens.unit
    lines = [_line(term, tokens) for term in terms]
    arguments: dict[str, Any] = {"hotwords_file": str(work_dir / "hotwords.txt"), "modeling_unit": unit}
    (work_dir / "hotwords.txt").write_text("".join(lines), encoding="utf-8")
    if unit != "cjkchar":
        arguments["bpe_vocab"] = str(_bpe_vocab(model, work_dir))
    return arguments


def _line(term: Term, tokens: SherpaTokens) -> str:
    text = " ".join(unicodedata.normalize("NFKC", term.written).split()) if tokens.case == "mixed" else term.text
    if tokens.case == "upper":
        text = text.upper()
    for char in text:
        if is_han(char) and char not in tokens.symbols:
            raise DataError(f"{term.where}: {text!r} has {char!r}, which the model's tokens.txt lacks; remove it")
    return f"{text}\n" if term.score is None else f"{text} :{term.score:g}\n"


def _bpe_vocab(model: SherpaModel, work_dir: Path) -> Path:
    """The folder's bpe.vocab, or one from its bpe.model."""
    if (model.folder / "bpe.vocab").is_file():
        return model.folder / "bpe.vocab"
    if not (model.folder / "bpe.model").is_file():
        raise ConfigError(
            f"{model.folder} has no bpe.vocab or bpe.model, by which hotwords become tokens: copy one from where "
            "the model comes from, or leave the hotwords out"
        )
    import sentencepiece as spm

    try:
        bpe = spm.SentencePieceProcessor(model_file=str(model.folder / "bpe.model"))
    except (OSError, RuntimeError) as e:
        raise DataError(f"{model.folder / 'bpe.model'} is not a sentencepiece model; copy it again") from e
    pieces = range(bpe.get_piece_size())
    lines = [f"{bpe.id_to_piece(i)}\t{bpe.get_score(i):g}\n" for i in pieces]
    (work_dir / "bpe.vocab").write_text("".join(lines), encoding="utf-8")
    return work_dir / "bpe.vocab"
