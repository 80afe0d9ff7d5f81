"""Hotwords for sherpa-onnx, from the file that this project's decoders take: a term per line, optionally with ` :2.5`.

Transducers split terms into the tokens of the model, for which those with BPE need bpe.vocab (pieces and their scores).
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Any

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import ConfigError, DataError, list_names
from lhotse_prep.workflow.files import read_text
from ml2021.asr.sherpa.catalog import FAMILIES
from ml2021.asr.sherpa.families import SherpaModel
from ml2021.asr.sherpa.token_table import SherpaTokens

_LINE = re.compile(r"(?P<term>.*?)(?:\s+:(?P<score>\S+))?\s*")
_SCORE = re.compile(r"-?(\d+(\.\d*)?|\.\d+)")
_MISPLACED = re.compile(r"(?<!\d)[:：]\s*[-+.]?\d")  # but not 10:30


def read_terms(path: Path, keeps_case: bool = False) -> list[tuple[str, str]]:
    """(term, its score or "") of each line; terms are normalised, or as they are written if keeps_case.

    Raises:
      DataError: a score is misplaced or no number, or there is no term.
    """
    terms = []
    for number, line in enumerate((read_text(path) or "").split("\n"), 1):
        match = _LINE.fullmatch(line)
        assert match is not None
        if not (text := normalize_transcript(match["term"])):
            continue
        if _MISPLACED.search(match["term"]):
            raise DataError(
                f"{path}, line {number}: {line.strip()!r} seems to have a score that would be read as a part of the "
                "term: write it at the end, after a space, with an ASCII colon, such as :2.5"
            )
        if match["score"] is not None and not _SCORE.fullmatch(match["score"]):
            raise DataError(
                f"{path}, line {number}: the score {match['score']!r} is not a number; write one such as :2.5"
            )
        written = " ".join(unicodedata.normalize("NFKC", match["term"]).split())
        terms.append((written if keeps_case else text, match["score"] or ""))
    if not terms:
        raise DataError(f"{path} has no hotwords: write a term per line")
    return terms


def hotword_arguments(model: SherpaModel, tokens: SherpaTokens | None, path: Path, work_dir: Path) -> dict[str, Any]:
    """The arguments for hotwords of the family's factory; writes the files that they name to work_dir.

    Raises:
      ConfigError: the family takes no hotwords, or the folder lacks what they need.
      DataError: a line is wrong, or has a character that the model cannot emit.
    """
    family = model.family
    if family.hotwords_argument:
        terms = read_terms(path)
        return {family.hotwords_argument: ",".join(text.replace(",", " ") for text, _ in terms)}
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
    terms = read_terms(path, tokens.case == "mixed")
    only_han = all(is_han(c) for text, _ in terms for c in text.replace(" ", ""))
    unit = "cjkchar" if only_han else tokens.unit
    lines = [_line(text, score, tokens, path) for text, score in terms]
    arguments: dict[str, Any] = {"hotwords_file": str(work_dir / "hotwords.txt"), "modeling_unit": unit}
    (work_dir / "hotwords.txt").write_text("".join(lines), encoding="utf-8")
    if unit != "cjkchar":
        arguments["bpe_vocab"] = str(_bpe_vocab(model, work_dir))
    return arguments


def _line(text: str, score: str, tokens: SherpaTokens, path: Path) -> str:
    if tokens.case == "upper":
        text = text.upper()
    for char in text:
        if is_han(char) and char not in tokens.symbols:
            raise DataError(f"{path}: {text!r} has {char!r}, which the model's tokens.txt lacks; remove it")
    return f"{text} :{score}\n" if score else f"{text}\n"


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
