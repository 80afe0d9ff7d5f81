"""Folders of Whisper models as CTranslate2 stores them, and names of such models on the Hugging Face hub."""

from __future__ import annotations

import json
import logging
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse_prep.workflow.errors import ConfigError, DataError

logger = logging.getLogger(__name__)
WEIGHTS, CONFIG, TOKENIZER = "model.bin", "config.json", "tokenizer.json"
_VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
_FILES = (WEIGHTS, CONFIG, TOKENIZER, *_VOCABULARIES, "preprocessor_config.json")  # all that recognition depends on
_SPECIFICATION = "WhisperSpec"  # in the head of the weights
_POINTER = b"version https://git-lfs"
_SPECIAL = ("<|startoftranscript|>", "<|transcribe|>", "<|startofprev|>", "<|notimestamps|>")
_SIZE = re.compile(
    r"(tiny|base|small|medium)(\.en)?|large(-v[123])?|(large-v3-)?turbo|distil-((small|medium)\.en|large-v(2|3(\.5)?))"
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]*(whisper|breeze-asr)[\w.-]*", re.IGNORECASE)
_WEIGHTS_OF_OTHERS = ("*.safetensors", "pytorch_model*.bin", "flax_model*", "*.pt")
_INSTALL = "pip install -e .[whisper]"


def is_whisper(path: Path | str) -> bool:
    """Whether it is a folder of a Whisper model, also an incomplete or unconverted one, or the name of such a model."""
    folder = Path(path)
    if folder.is_dir():
        config = _read_json(folder / CONFIG)
        return (
            _specification(folder / WEIGHTS) == _SPECIFICATION
            or config.get("model_type") == "whisper"
            or {"suppress_ids", "suppress_ids_begin"} <= config.keys()
        )
    return not folder.exists() and bool(_SIZE.fullmatch(str(path)) or _HUB_NAME.fullmatch(str(path)))


def require_faster_whisper() -> None:
    """Raise ConfigError if faster-whisper is not installed."""
    try:
        import faster_whisper  # noqa: F401
    except ImportError as e:
        raise ConfigError(f"Whisper models need faster-whisper ({e}): {_INSTALL}") from e


def model_folder(name_or_folder: str) -> Path:
    """The complete folder of a model; one of a name is downloaded, or taken from the hub's cache.

    Raises:
      DataError: it is neither a folder nor to be had from the hub, or its files are not those of a Whisper model.
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        if folder.exists():
            raise DataError(f"{folder} is a file: name the folder of a Whisper model that CTranslate2 can load")
        folder = _downloaded(name_or_folder)
    _check_folder(folder, name_or_folder)
    return folder


def model_files(folder: Path) -> list[Path]:
    """The files of a model that its words depend on."""
    return [folder / name for name in _FILES if (folder / name).is_file()]


def _downloaded(name: str) -> Path:
    from faster_whisper.utils import download_model
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    logger.info("Whisper model %s: from the Hugging Face hub or its cache", name)
    try:
        return Path(download_model(name))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as e:
        reason = next((line for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise DataError(
            f"Whisper model {name} is not a folder here and cannot be downloaded from the Hugging Face hub ({reason}): "
            "check its name, or copy its folder here and name that"
        ) from e


def _check_folder(folder: Path, name: str) -> None:
    weights = folder / WEIGHTS
    if not weights.is_file():
        if any(path for pattern in _WEIGHTS_OF_OTHERS for path in folder.glob(pattern)):
            raise DataError(
                f"Whisper model {name} is not in CTranslate2's format (no {WEIGHTS}): convert it with "
                f"ct2-transformers-converter --model {name} --output_dir whisper-ct2 --copy_files tokenizer.json "
                "preprocessor_config.json"
            )
        raise DataError(f"Whisper model {name} has no {WEIGHTS}: copy or download all of its files again")
    with open(weights, "rb") as f:
        if f.read(len(_POINTER)) == _POINTER:
            raise DataError(f"{weights} is a pointer of Git LFS, not the weights: get them with git lfs pull")
    if (specification := _specification(weights)) != _SPECIFICATION:
        kind = f"those of a {specification}" if specification else "damaged, or not CTranslate2's"
        raise DataError(f"{weights} should be the weights of a Whisper model, and they are {kind}")
    for file in (CONFIG, TOKENIZER):
        if not (folder / file).is_file():
            raise DataError(f"Whisper model {name} has no {file}: copy it from the model that it was converted from")
        if not _read_json(folder / file):
            raise DataError(f"{folder / file} is damaged: it is not a JSON object; copy it again")
    _check_tokenizer(folder, _vocabulary(folder, name))


def _check_tokenizer(folder: Path, vocabulary: Sequence[Any]) -> None:
    """Raise DataError if Whisper's special tokens have other ids in the tokenizer than in the model's vocabulary."""
    added = _read_json(folder / TOKENIZER).get("added_tokens")
    rows = [row for row in added if isinstance(row, dict)] if isinstance(added, list) else []
    ids = {row.get("content"): row.get("id") for row in rows}
    for token in _SPECIAL:
        if token not in ids or token not in vocabulary or vocabulary.index(token) != ids[token]:
            raise DataError(
                f"{folder / TOKENIZER} is not the tokenizer of this Whisper model: its {token} is "
                f"{ids.get(token, 'missing')}, that of the model's vocabulary is "
                f"{vocabulary.index(token) if token in vocabulary else 'missing'}; copy it from the model that it was "
                "converted from"
            )


def _vocabulary(folder: Path, name: str) -> list[Any]:
    for path in (folder / file for file in _VOCABULARIES):
        if path.is_file():
            try:
                text = path.read_text(encoding="utf-8")
                tokens = json.loads(text) if path.suffix == ".json" else text.split("\n")
            except ValueError as e:
                raise DataError(f"{path} is damaged: {e}; copy it again") from e
            if not isinstance(tokens, list):
                raise DataError(f"{path} is damaged: it is not a list of tokens; copy it again")
            return tokens
    raise DataError(
        f"Whisper model {name} has no {' or '.join(_VOCABULARIES)}: copy or download all of its files again"
    )


def _specification(weights: Path) -> str:
    """The kind of model that CTranslate2 wrote into the head of its weights: a version, a length, a name; or empty."""
    try:
        with open(weights, "rb") as f:
            _, length = struct.unpack("<IH", f.read(6))
            return f.read(min(length, 64)).rstrip(b"\0").decode("ascii")
    except (OSError, struct.error, UnicodeDecodeError):
        return ""


def _read_json(path: Path) -> dict[str, Any]:
    """An object in a file; empty without one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
