"""Lang folders, which hold the recogniser's tokens: made from transcripts, or copied from icefall.

A lang folder has `tokens.txt` (one `token id` per line; the blank is 0) and a sentencepiece model: `bbpe.model` if it
is of bytes (tokens.byte_bpe), else `bpe.model`; none if every token is a character. Folders made here also have
`lang.json` (kind, case, sizes, hash).
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import sentencepiece as spm

from lhotse_prep.text.characters import is_han
from lhotse_prep.tokens.bpe import train_bpe, train_pieces
from lhotse_prep.tokens.char_table import CharTable, require_characters
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.special_tokens import BLANK, BLANK_NAMES, SOS_EOS, UNK, special_tokens
from lhotse_prep.tokens.token_table import PieceTable, TokenTable, special_pieces
from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import read_text, whole_file, write_json, write_text

_DISAMBIGUATION = re.compile(r"#\d+")  # at the end of icefall's tokens.txt; the recogniser does not output them

logger = logging.getLogger(__name__)


def make_lang(texts: Iterable[str], more_texts: Iterable[str], lang_dir: Path, config: LangConfig) -> TokenTable:
    """Write a lang folder.

    Args:
      texts: normalised transcripts of the training recordings; their Han characters become tokens.
      more_texts: normalised transcripts without audio, used to train the BPE; their characters become tokens of
        char+bpe only with config.min_text_char_count.
      lang_dir: where the files go.
      config: kind and sizes; with from_dir, that folder is copied, and the texts are only used to add_characters.
    Returns:
      The table of the new folder.
    Raises:
      DataError: the texts are empty, or config.from_dir is not a lang folder of config.kind.
    """
    if config.from_dir is not None and not config.add_characters:
        return _copy_lang(Path(config.from_dir), lang_dir, config)
    words = Counter(word for text in texts for word in text.split())
    if not words:
        raise DataError("the training transcripts are empty: there is nothing to make tokens from")
    more_words = Counter(word for text in more_texts for word in text.split())
    if config.from_dir is not None:
        return _extend_lang(Path(config.from_dir), words, more_words, lang_dir, config)
    lang_dir.mkdir(parents=True, exist_ok=True)
    if config.kind == "char+bpe":
        return _make_char_bpe(words, more_words, lang_dir, config)
    bpe = train_pieces(words + more_words, config)
    symbols = [bpe.id_to_piece(i) for i in range(bpe.get_piece_size())]
    with whole_file(lang_dir / _model_name(config.kind), "wb") as f:
        f.write(bpe.serialized_model_proto())
    write_text(lang_dir / "tokens.txt", tokens_txt(symbols))
    upper_case = config.case == "upper"
    info = {"kind": config.kind, "upper_case": upper_case, "num_tokens": len(symbols), "hash": lang_hash(lang_dir)}
    write_json(lang_dir / "lang.json", info)
    return PieceTable(symbols, bpe, upper_case, config.kind == "bbpe")


def _frequent(words: Mapping[str, int], more_words: Mapping[str, int], config: LangConfig) -> set[str]:
    """The Han characters that are frequent enough to become tokens, those that only texts without audio have too."""
    chars, least = _characters(words), config.min_text_char_count
    only_in_texts = {c for c, n in _characters(more_words).items() if least and n >= least and c not in chars}
    return {c for c, n in chars.items() if n >= config.min_char_count} | only_in_texts


def _characters(words: Mapping[str, int]) -> dict[str, int]:
    return {word: count for word, count in words.items() if len(word) == 1 and is_han(word)}


def _make_char_bpe(words: Counter[str], more_words: Counter[str], lang_dir: Path, config: LangConfig) -> TokenTable:
    both = words + more_words
    all_han = _characters(both)
    english = Counter({w: n for w, n in both.items() if w not in all_han})
    alphabet = {c for word in english for c in word}
    bpe = train_bpe(english, max(config.num_english_pieces, len(alphabet) + 2))
    pieces = [bpe.id_to_piece(i) for i in range(bpe.get_piece_size()) if not bpe.is_unknown(i)]
    han = sorted(_frequent(words, more_words, config))
    symbols = [BLANK, SOS_EOS, UNK, *han, *[p for p in pieces if p not in set(han)]]
    write_text(lang_dir / "tokens.txt", tokens_txt(symbols))
    with whole_file(lang_dir / "bpe.model", "wb") as f:
        f.write(bpe.serialized_model_proto())
    info = {"num_tokens": len(symbols), "num_han": len(han), "num_pieces": len(pieces), "hash": lang_hash(lang_dir)}
    write_json(lang_dir / "lang.json", info)
    return TokenTable(symbols, bpe)


def _copy_lang(source: Path, lang_dir: Path, config: LangConfig) -> TokenTable:
    """Copy a lang folder of this package or of icefall, and describe it in lang.json.

    The model gets the name that its kind has here. Where the source has no tokens.txt, the model's pieces are written.
    """
    table = load_lang(source, None if config.case == "auto" else config.case == "upper")
    if table.kind != config.kind:
        raise DataError(
            f"{source} has tokens of kind {table.kind}, but lang.kind is {config.kind}: set lang.kind to {table.kind}"
        )
    lang_dir.mkdir(parents=True, exist_ok=True)
    if (source / "tokens.txt").is_file():
        shutil.copyfile(source / "tokens.txt", lang_dir / "tokens.txt")
    else:
        write_text(lang_dir / "tokens.txt", tokens_txt(table.symbols))
    model = _model_path(source)
    if model is not None:
        shutil.copyfile(model, lang_dir / _model_name(table.kind))
    info = {"kind": table.kind, "upper_case": table.upper_case, "num_tokens": len(table), "hash": lang_hash(lang_dir)}
    write_json(lang_dir / "lang.json", info)
    logger.info("%d tokens from %s, kind %s, capitals: %s", len(table), source, table.kind, table.upper_case)
    return table


def _extend_lang(
    source: Path, words: Mapping[str, int], more_words: Mapping[str, int], lang_dir: Path, config: LangConfig
) -> TokenTable:
    """Copy a lang folder, and add the frequent Han characters that it lacks after its own tokens."""
    table = _copy_lang(source, lang_dir, config)
    added = sorted(_frequent(words, more_words, config) - table.ids.keys())
    symbols = [*table.symbols, *added]
    write_text(lang_dir / "tokens.txt", tokens_txt(symbols))
    info = {"kind": table.kind, "upper_case": table.upper_case, "num_tokens": len(symbols), "num_added": len(added)}
    write_json(lang_dir / "lang.json", info | {"hash": lang_hash(lang_dir)})
    logger.info("%d characters are added to the %d tokens", len(added), len(table))
    return TokenTable(symbols, table.bpe, table.upper_case, table.special)


def load_lang(lang_dir: Path, upper_case: bool | None = None) -> TokenTable:
    """Read a lang folder of this package or of icefall.

    Args:
      lang_dir: the folder.
      upper_case: whether text is encoded in capitals. None: what lang.json says; without lang.json, True if more tokens
        have ASCII capitals than ASCII small letters.
    Raises:
      DataError: a file is missing, a line is not `token id`, ids have gaps, the hash in lang.json is not that of the
        files, the tokens are not those of the model, token 0 is no blank, or no text can be written with the tokens.
    """
    path, model_path = lang_dir / "tokens.txt", _model_path(lang_dir)
    bpe = None if model_path is None else _read_model(model_path)
    pieces = _pieces(bpe)
    symbols = _read_symbols(path, pieces)
    if model_path is None or bpe is None:
        special = special_tokens(symbols, where=str(path))
        require_characters(symbols, special, str(lang_dir))
        return CharTable(symbols, _is_upper_case(lang_dir, symbols, upper_case), special)
    of_bytes = "bbpe" in model_path.name
    if symbols == pieces:
        special = special_pieces(symbols, bpe, str(path))
        return PieceTable(symbols, bpe, _is_upper_case(lang_dir, symbols, upper_case), of_bytes, special)
    known, special = set(pieces), special_tokens(symbols, where=str(path))
    texts = [s for i, s in enumerate(symbols) if i not in special.not_text]
    if of_bytes or known == set(symbols) or not all(s in known or is_han(s) for s in texts):
        raise DataError(
            f"{lang_dir}: the {len(symbols)} tokens of tokens.txt are not the {len(pieces)} pieces of "
            f"{model_path.name} in their order, nor some of these and Chinese characters; use files of one training"
        )
    return TokenTable(symbols, bpe, _is_upper_case(lang_dir, symbols, upper_case), special)


def lang_hash(lang_dir: Path) -> str:
    """Digest of tokens.txt and the model together; a checkpoint stores the one that it was trained with."""
    path, model = lang_dir / "tokens.txt", _model_path(lang_dir)
    if path.is_file():
        tokens = path.read_bytes()
    else:
        tokens = tokens_txt(_read_symbols(path, _pieces(None if model is None else _read_model(model)))).encode()
    return digest_bytes(tokens + (b"" if model is None else model.read_bytes()))


def tokens_txt(symbols: Sequence[str]) -> str:
    """The content of tokens.txt."""
    return "".join(f"{symbol} {i}\n" for i, symbol in enumerate(symbols))


def _model_name(kind: str) -> str:
    return "bbpe.model" if kind == "bbpe" else "bpe.model"


def _model_path(lang_dir: Path) -> Path | None:
    """The sentencepiece model of a lang folder; None for characters.

    That is bpe.model, or bbpe.model if it is of bytes; without both, the only *.model (X-ASR has a bpe_punc.model).
    """
    paths = [lang_dir / name for name in ("bpe.model", "bbpe.model") if (lang_dir / name).is_file()]
    paths = paths or sorted(p for p in lang_dir.glob("*.model") if p.is_file() and not p.name.startswith("."))
    if len(paths) > 1:
        names = " and ".join(p.name for p in paths)
        raise DataError(f"{lang_dir} has {names}; remove the one that does not belong to tokens.txt")
    return paths[0] if paths else None


def _read_model(path: Path) -> spm.SentencePieceProcessor:
    try:
        return spm.SentencePieceProcessor(model_proto=path.read_bytes())
    except RuntimeError as e:
        raise DataError(f"{path} is not a sentencepiece model, or damaged; copy it again from its source") from e


def _pieces(bpe: spm.SentencePieceProcessor | None) -> list[str]:
    return [] if bpe is None else [bpe.id_to_piece(i) for i in range(bpe.get_piece_size())]


def _read_symbols(path: Path, pieces: list[str]) -> list[str]:
    """The tokens of tokens.txt in the order of their ids, without icefall's #0, #1 ... at the end.

    Without the file, they are the pieces of the model, if its first piece is a blank.
    """
    if not path.is_file():
        if pieces and pieces[0] in BLANK_NAMES:
            return pieces
        raise DataError(
            f"{path} is missing, and no bpe.model beside it has all tokens; make it with ./run.sh --stage 2 "
            "--stop-stage 2, or copy it from where the model is from"
        )
    symbols = []
    for number, line in enumerate((read_text(path) or "").rstrip("\n").split("\n"), 1):
        symbol, _, index = line.rstrip("\r").replace("\t", " ").rpartition(" ")
        if not symbol or index != str(number - 1):
            raise DataError(f"{path}, line {number}: expected 'token {number - 1}', got {line!r}")
        symbols.append(symbol)
    while symbols and _DISAMBIGUATION.fullmatch(symbols[-1]):
        symbols.pop()
    twice = next((s for s, count in Counter(symbols).items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path}: token {twice!r} occurs more than once, so its text has no single id")
    return symbols


def _is_upper_case(lang_dir: Path, symbols: Sequence[str], upper_case: bool | None) -> bool:
    """What the caller says, else lang.json, whose hash is checked, else the tokens."""
    info = _read_info(lang_dir)
    if upper_case is not None:
        return upper_case
    return bool(info.get("upper_case", False)) if info else _has_capitals(symbols)


def _read_info(lang_dir: Path) -> dict[str, Any]:
    """The content of lang.json; empty if it does not exist, as in icefall's folders."""
    path = lang_dir / "lang.json"
    if not path.is_file():
        return {}
    try:
        info = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        expected_hash = info["hash"]
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{path} is damaged ({e!r}); run stage 2 again") from e
    if expected_hash != lang_hash(lang_dir):
        raise DataError(f"{lang_dir}: tokens.txt or the model changed after lang.json was written; run stage 2 again")
    return info


def _has_capitals(symbols: Sequence[str]) -> bool:
    """True if more tokens have ASCII capitals than small letters, special and byte tokens (<0xE6>) not counted."""
    plain = [s for s in symbols if not (s.startswith("<") and s.endswith(">"))]
    capitals, small = (sum(any(b <= c <= e for c in s) for s in plain) for b, e in ("AZ", "az"))
    return capitals > small
