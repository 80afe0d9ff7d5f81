"""The tokens.txt of a sherpa-onnx model, read as sherpa-onnx reads it, and its checks against the model."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.byte_bpe import BYTE_CHARS
from lhotse_prep.workflow.errors import DataError, list_names
from lhotse_prep.workflow.files import read_text
from ml2021.asr.sherpa.families import SherpaModel

WORD_START = "▁"
_SPACE = re.compile(r"[ \t\n\r\f\v]+")  # of C++; others, such as an ideographic space, are symbols
_BLANKS = ("<blk>", "<eps>", "<blank>")
_WITHOUT_BLANK = ("from_sense_voice", "from_omnilingual_asr_ctc", "from_paraformer")  # these need no name for it
_MOST_EXTRA = 10  # tokens that a model may have no output for, besides #0, #1 ... of decoding graphs


@dataclass(frozen=True)
class SherpaTokens:
    """What tokens.txt says about how tokens spell words."""

    symbols: frozenset[str]
    is_byte_bpe: bool  # each character stands for a byte
    joins_by_marks: bool  # `hel@@ lo` is one word; else a word begins with a space
    unit: str  # of hotwords: cjkchar, bpe or cjkchar+bpe
    case: str  # of Latin letters: upper, lower or mixed


def read_tokens(model: SherpaModel) -> SherpaTokens | None:
    """Read and check the tokens of a model; None for a model that has a tokenizer instead.

    Raises:
      DataError: a line is no token, or the tokens are those of another model.
    """
    if model.tokens is None:
        return None
    ids = _parse(model.tokens)
    family = model.family
    if family.name == "Whisper":
        _check_whisper(model, ids)
        return SherpaTokens(frozenset(), False, False, "", "mixed")
    if family.needs_all_tokens:
        _check_outputs(model, ids)
    symbols = frozenset(ids.values())
    if "model" in model.files and family.factory not in _WITHOUT_BLANK and not symbols & set(_BLANKS):
        raise DataError(
            f"{model.tokens} has none of {list_names(_BLANKS)}, one of which a CTC model has: is it the right file?"
        )
    if family.factory == "from_paraformer" and "</s>" not in symbols:
        raise DataError(f"{model.tokens} has no </s>, which a Paraformer has: is it the right file?")
    return _conventions(symbols, family.factory)


def _parse(path: Path) -> dict[int, str]:
    """{id: symbol}, as sherpa-onnx reads it: a line that is only an id is a space."""
    text = read_text(path) or ""
    ids: dict[int, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        fields = [field for field in _SPACE.split(line) if field]
        if not fields:
            continue
        symbol, token_id = fields if len(fields) == 2 else (" ", fields[0])
        if len(fields) > 2 or not token_id.isdecimal():
            raise DataError(
                f"{path}, line {number}: {line.strip()[:60]!r} is not a token and its id; copy the file again"
            )
        ids.setdefault(int(token_id), symbol)
    if not ids:
        raise DataError(f"{path} is empty: copy it again")
    return ids


def _check_outputs(model: SherpaModel, ids: dict[int, str]) -> None:
    """Raise DataError unless each output of the model has a token."""
    header = model.headers[model.family.main]
    said = header.metadata.get("vocab_size", "") if header else ""
    size = int(said) if said.isdecimal() else None
    last = model.headers.get("joiner" if "joiner" in model.files else model.family.main)
    outputs = list(last.last_dims.values())[:1] if last else []
    if model.family.name in ("transducer", "streaming transducer") and size and outputs[0] not in (size, None):
        raise DataError(
            f"{model.folder}: the joiner has {outputs[0]} outputs, and the decoder says that there are {size} tokens: "
            "the files are of different models; copy all of them again"
        )
    if "model" in model.files and outputs and outputs[0] is not None:
        size = outputs[0]
    if size is None:
        return
    missing = [i for i in range(size) if i not in ids]
    extra = [symbol for i, symbol in ids.items() if i >= size and not symbol.startswith("#")]
    if missing or len(extra) > _MOST_EXTRA:
        raise DataError(
            f"{model.tokens} has {len(ids)} tokens, and the model has {size} outputs: it is the tokens.txt of another "
            "model; copy the right one"
        )


def _check_whisper(model: SherpaModel, ids: dict[int, str]) -> None:
    """Raise DataError unless the symbols are bytes in base64, one for each text token of the model."""
    header = model.headers["encoder"]
    eot = header.metadata.get("eot", "") if header else ""
    num_text = int(eot) if eot.isdecimal() else 0
    try:
        for symbol in ids.values():
            base64.b64decode(symbol.strip(), validate=True)
    except ValueError as e:
        raise DataError(
            f"{model.tokens}: {symbol[:30]!r} is not base64, in which Whisper's tokens are written: it is the file of "
            "another model; copy the right one"
        ) from e
    if len(ids) < num_text:
        raise DataError(
            f"{model.tokens} has {len(ids)} tokens, and the model has {num_text} for text: it is the file of another "
            "model; copy the right one"
        )


def _conventions(symbols: frozenset[str], factory: str) -> SherpaTokens:
    spelled = [s for s in symbols if not (s.startswith("<") and s.endswith(">")) and not s.startswith("#")]
    has_starts = any(s.startswith(WORD_START) for s in spelled)
    byte_chars = set(BYTE_CHARS) | {WORD_START, " "}
    beyond_ascii = {c for s in spelled for c in s if ord(c) > 0x7F} - {WORD_START}
    is_byte_bpe = bool(beyond_ascii) and max(beyond_ascii) >= "ƀ" and all(set(s) <= byte_chars for s in spelled)
    joins_by_marks = any(s.endswith("@@") for s in spelled) or (factory == "from_paraformer" and not has_starts)
    has_han = any(is_han(s) for s in spelled if len(s) == 1)
    letters = [c for s in spelled for c in s if c.isascii() and c.isalpha()]
    capitals = {c.isupper() for c in letters}
    case = "mixed" if len(capitals) > 1 else "upper" if True in capitals else "lower"
    return SherpaTokens(
        symbols, is_byte_bpe, joins_by_marks, ("cjkchar+bpe" if has_han else "bpe") if has_starts else "cjkchar", case
    )
