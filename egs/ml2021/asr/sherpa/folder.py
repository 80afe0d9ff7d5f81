"""Finds out what model a folder of sherpa-onnx holds, by the names of its files and by their metadata.

Names are as published: `encoder-epoch-99-avg-1.int8.onnx` has the role encoder, the tag `epoch-99-avg-1` and the
precision int8; files of one model have the same tag.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lhotse_prep.workflow.errors import ConfigError, DataError, list_names
from lhotse_prep.workflow.files import is_clutter
from ml2021.asr.sherpa.catalog import FAMILIES, is_streaming
from ml2021.asr.sherpa.families import Family, Headers, SherpaModel
from ml2021.asr.sherpa.onnx_header import OnnxHeader, read_onnx_header

logger = logging.getLogger(__name__)
_SUFFIXES = (".onnx", ".ort")
_FLOAT32 = "float32"
_PRECISION = re.compile(r"(?P<stem>.*?)[._-](?P<precision>int8|uint8|int4|fp16|float16|bf16|quantized|quant)")
_PRECISIONS = {"fp16": "float16", "bf16": "bfloat16", "quant": "int8", "quantized": "int8", "uint8": "int8"}
_ALIASES = {"ctc": "model", "preprocessor": "preprocess", "uncached_decoder": "uncached_decode"}
_ALIASES |= {"cached_decoder": "cached_decode", "merged_decoder": "decoder_model_merged"}
_ROLES = sorted({*_ALIASES, *(role for family in FAMILIES for role in family.arguments)}, key=len, reverse=True)
_ROLE = re.compile(rf"(?:^|(?<=[-_.]))(?:{'|'.join(_ROLES)})(?=$|[-_.])")
_OTHERS = re.compile(r"silero|vad|punct|speaker|(^|[-_.])lm([-_.]|$)|no-state|with-state")  # beside a recogniser
_EXPECTED = (
    "expected encoder, decoder and joiner (a transducer); NAME-encoder and NAME-decoder (Whisper, FireRed ASR, Canary, "
    "Cohere); one model.onnx (CTC, Paraformer, SenseVoice); or the files of Moonshine, Fun-ASR-Nano or Qwen3-ASR"
)


class _File(NamedTuple):
    path: Path
    role: str
    tag: str  # what else its name says
    precision: str


def is_sherpa(folder: Path) -> bool:
    """Whether a folder holds ONNX files, of which sherpa-onnx may be able to use some."""
    return folder.is_dir() and bool(_onnx_files(folder))


def find_model(folder: Path, compute_type: str = "default") -> SherpaModel:
    """The model in a folder.

    Args:
      folder: with the files as published.
      compute_type: of the weights if there are several: float32, int8, float16; "default": float32 if there is one.
    Raises:
      ConfigError: there are no weights of this type.
      DataError: there is no model in it, more than one, or one that is no recogniser of whole utterances; a file is
        missing or damaged.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}: name the unpacked folder of a sherpa-onnx model")
    files = [_parsed(path) for path in _onnx_files(folder)]
    if not files:
        raise DataError(f"{folder} has no .onnx files: is it the unpacked folder of a sherpa-onnx model?")
    roles, group = _one_model(folder, files)
    order = next(list(family.arguments) for family in FAMILIES if roles == set(family.arguments))
    chosen = {role: _of_precision([f for f in group if f.role == role], compute_type, folder) for role in order}
    _require_precision(chosen, group, compute_type, folder)
    paths = {role: f.path for role, f in chosen.items()}
    headers = {role: read_onnx_header(p) if p.suffix == ".onnx" else None for role, p in paths.items()}
    family = _family(folder, roles, headers)
    main = headers[family.main]
    if main is not None and (lacking := [key for key in family.keys if key not in main.metadata]):
        raise DataError(
            f"{main.path} lacks the metadata {list_names(lacking)} that sherpa-onnx needs of a model of the family "
            f"{family.name}: export it again with the scripts of sherpa-onnx"
        )
    tokens = _tokens_file(folder, group[0].tag) if family.needs_tokens else None
    tokenizer = _tokenizer(folder, family) if family.tokenizer_files else None
    return SherpaModel(folder, family, paths, headers, tokens, tokenizer)


def _onnx_files(folder: Path) -> list[Path]:
    files = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES and p.is_file() and not is_clutter(p.name))
    return [p for p in files if not _OTHERS.search(p.name)] or files


def _parsed(path: Path) -> _File:
    stem, precision = path.stem, _FLOAT32
    if match := _PRECISION.fullmatch(stem):
        stem, precision = match["stem"], _PRECISIONS.get(match["precision"], match["precision"])
    if match := _ROLE.search(stem):
        role = _ALIASES.get(match[0], match[0])
        return _File(path, role, (stem[: match.start()] + stem[match.end() :]).strip("-_."), precision)
    return _File(path, "", stem, precision)


def _one_model(folder: Path, files: Sequence[_File]) -> tuple[frozenset[str], list[_File]]:
    """The roles of the only complete model among some files, and its files."""
    names = list_names([f.path.name for f in files])
    if not any(f.role for f in files) and len({f.tag for f in files}) == 1:  # any name will do for a lone file
        files = [f._replace(role="model") for f in files]
    by_tag: dict[str, list[_File]] = {}
    for f in files:
        by_tag.setdefault(f.tag, []).append(f)
    known = list(dict.fromkeys(frozenset(family.arguments) for family in FAMILIES))
    complete = []
    for group in by_tag.values():
        fitting = [roles for roles in known if roles <= {f.role for f in group}]
        complete += [(roles, group) for roles in fitting if not any(roles < other for other in fitting)]
    if not complete:
        raise DataError(f"{folder} holds no whole model: it has {names}; {_EXPECTED}")
    if len(complete) > 1:
        raise DataError(
            f"{folder} could be {len(complete)} models: it has {names}; leave the files of one of them there, or copy "
            "these to another folder"
        )
    roles, group = complete[0]
    unused = [f.path.name for f in files if f not in group or f.role not in roles]
    if unused:
        logger.info("%s: %d files are of no use to this model: %s", folder, len(unused), list_names(unused))
    return roles, [f for f in group if f.role in roles]


def _of_precision(files: Sequence[_File], compute_type: str, folder: Path) -> _File:
    """The file of a role to use: that of the precision asked for, else float32, else the only one."""
    first = _FLOAT32 if compute_type == "default" else _asked(compute_type)
    for precision in (first, _FLOAT32):
        if fitting := [f for f in files if f.precision == precision]:
            if len(fitting) > 1:
                names = list_names([f.path.name for f in fitting])
                raise DataError(f"{folder} has {names} for the same purpose: keep one of them")
            return fitting[0]
    if len(files) > 1:
        names = list_names([f.path.name for f in files])
        raise ConfigError(f"{folder} has {names}: choose one with the compute type, such as {files[0].precision}")
    return files[0]


def _asked(compute_type: str) -> str:
    return _PRECISIONS.get(compute_type, "int8" if compute_type.startswith("int8") else compute_type)


def _require_precision(chosen: Mapping[str, _File], group: Sequence[_File], compute_type: str, folder: Path) -> None:
    """Raise ConfigError if no file has the precision asked for; log which of several is used."""
    there = sorted({f.precision for f in group})
    used = sorted({f.precision for f in chosen.values()})
    if compute_type != "default" and _asked(compute_type) not in used:
        raise ConfigError(
            f"{folder} has no weights of compute type {compute_type}, only {list_names(there)}: choose one of these, "
            "or default"
        )
    if there != used:
        names = list_names([f.path.name for f in chosen.values()])
        logger.info("%s has weights in %s; using %s", folder, list_names(there), names)


def _family(folder: Path, roles: frozenset[str], headers: Headers) -> Family:
    """The family of a model, by its metadata."""
    of_roles = [family for family in FAMILIES if roles == set(family.arguments)]
    fitting = [family for family in of_roles if family.is_it(headers)]
    if len(fitting) == 1:
        return fitting[0]
    present: list[OnnxHeader] = [h for h in headers.values() if h is not None]
    names = list_names([h.path.name for h in present])
    if not fitting and is_streaming(headers):
        raise DataError(
            f"{folder} holds a model for streams ({names}), and of those only transducers of icefall can be used here: "
            "take a non-streaming model"
        )
    types = list_names(sorted({h.metadata.get("model_type", "none") for h in present}))
    titles = list_names([family.name for family in fitting or of_roles], most=20)
    raise DataError(
        f"{folder}: the metadata of {names} (model_type: {types}) fit {'several' if fitting else 'none'} of the "
        f"families {titles}; it is not a model that sherpa-onnx recognises speech with, or it was exported without "
        "metadata"
    )


def _tokens_file(folder: Path, tag: str) -> Path:
    """tokens.txt, or NAME-tokens.txt as Whisper's folders have it."""
    choices = [folder / f"{tag}-tokens.txt", folder / "tokens.txt"]
    for path in choices if tag else choices[1:]:
        if path.is_file():
            return path
    others = sorted(p for p in folder.glob("*tokens*.txt") if not is_clutter(p.name))
    if len(others) == 1:
        return others[0]
    raise DataError(
        f"{folder} has no tokens.txt: copy it from where the model comes from (for icefall's checkpoints, from its "
        "data/lang_*)"
    )


def _tokenizer(folder: Path, family: Family) -> Path:
    """The folder with the tokenizer's files: the folder itself or one inside it."""
    candidates = [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in family.tokenizer_files):
            return candidate
    raise DataError(
        f"{folder} has no folder with the tokenizer of {family.name} ({list_names(family.tokenizer_files)}): download "
        "the whole model again"
    )
