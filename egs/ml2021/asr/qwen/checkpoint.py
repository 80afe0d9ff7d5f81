"""Qwen3-ASR's recognisers and its forced aligner: what a folder or a name on the hub holds, and how it is loaded."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lhotse_prep.workflow.digests import digest_file
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.hub import from_hub
from ml2021.asr.qwen.original import KEY_MAPPING, flat_config, is_original, processor_of_original

logger = logging.getLogger(__name__)
RECOGNISER = "recogniser"
ALIGNER = "forced aligner"
HUB_RECOGNISER = "Qwen/Qwen3-ASR-1.7B-hf"
HUB_ALIGNER = "Qwen/Qwen3-ForcedAligner-0.6B-hf"
_MODEL_TYPE = "qwen3_asr"
_CLASSES = {RECOGNISER: "Qwen3ASRForConditionalGeneration", ALIGNER: "Qwen3ASRForTokenClassification"}
_NAME_ON_HUB = re.compile(r"[\w.-]+/[\w.-]+")
_QWEN_ON_HUB = re.compile(r"qwen3?[-_.]?(asr|forced[-_.]?aligner)", re.IGNORECASE)
_WEIGHTS = "model.safetensors"
_FILES = ("*.json", "*.safetensors", "*.txt", "*.jinja")  # all that is downloaded and read; pickled weights are not
_POINTER = b"version https://git-lfs"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Checkpoint(NamedTuple):
    """A loaded model with its processor."""

    folder: Path
    model: Any
    processor: Any


def kind_of(path: str | Path) -> str:
    """RECOGNISER or ALIGNER for a folder of Qwen3-ASR or its name on the hub; "" for anything else."""
    folder = Path(path)
    if folder.is_dir():
        try:
            config = _read_json(folder / "config.json")
        except (DataError, OSError):
            return ""
        return _kind(config) if config.get("model_type") == _MODEL_TYPE else ""
    if folder.exists() or not _NAME_ON_HUB.fullmatch(str(path)) or not (match := _QWEN_ON_HUB.search(str(path))):
        return ""
    return RECOGNISER if match[1].lower() == "asr" else ALIGNER


def find_checkpoint(name: str | Path, kind: str) -> Path:
    """Return the folder of a model; a name on the hub is downloaded, after a look at its config.json.

    Args:
      name: a folder, or a name on the Hugging Face hub.
      kind: RECOGNISER or ALIGNER.
    Raises:
      DataError: there is no such model, or it is incomplete, damaged, or of another kind.
    """
    folder = Path(name)
    if not folder.is_dir():
        if folder.exists() or not _NAME_ON_HUB.fullmatch(str(name)):
            raise DataError(f"{name} is neither a folder nor the name of a model on the hub, such as {HUB_RECOGNISER}")
        _require_kind(name, _read_json(_download(str(name), ("config.json",)) / "config.json", str(name)), kind)
        folder = _download(str(name), _FILES)
    _require_kind(name, _read_json(folder / "config.json", str(name)), kind)
    _require_files(name, folder)
    return folder


def load_checkpoint(name: str | Path, kind: str, device: torch.device, dtype: torch.dtype) -> Checkpoint:
    """Load a model of RECOGNISER or ALIGNER kind, ready for inference.

    Raises:
      ConfigError: the installed transformers has no Qwen3-ASR, or the device has too little memory.
      DataError: as find_checkpoint; or weights are missing, or the tokenizer belongs to another model.
    """
    classes = _transformers_classes(kind)
    folder = find_checkpoint(name, kind)
    config = _read_json(folder / "config.json", str(name))
    try:
        with _quiet_transformers():
            if is_original(config):
                settings = {"config": flat_config(config), "key_mapping": KEY_MAPPING[kind == ALIGNER]}
                processor = processor_of_original(folder, aligns=kind == ALIGNER)
            else:
                settings = {}
                processor = classes.processor.from_pretrained(folder, local_files_only=True)
            model, report = classes.model.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True, **settings
            )
    except Exception as e:  # of transformers, tokenizers, safetensors or jinja2: each has classes of its own
        reason = next(iter(str(e).strip().splitlines()), type(e).__name__)
        raise DataError(f"{name} cannot be read as a {kind} of Qwen3-ASR: {reason}") from e
    if missing := sorted(report["missing_keys"]):
        raise DataError(
            f"{name} is incomplete: {len(missing)} of the model's weights are not in it, such as {missing[0]}"
        )
    _require_same_tokens(name, model.config, processor, kind)
    try:
        model = model.eval().to(device)
    except torch.cuda.OutOfMemoryError as e:
        raise ConfigError(f"{name} does not fit into the free memory of device {device}: use device cpu") from e
    return Checkpoint(folder, model, processor)


def digests_of(folder: Path, prefix: str = "") -> dict[str, str]:
    """{prefix + file: digest} of a model's files."""
    files = sorted({p for pattern in _FILES for p in folder.glob(pattern) if not p.name.startswith(".")})
    return {prefix + p.name: digest_file(p) for p in files}


def choose_device(device: str) -> torch.device:
    """The device of an option; "" is the GPU if there is one.

    Raises:
      ConfigError: there is no such device.
    """
    has_gpu = torch.cuda.is_available()
    if not device:
        return torch.device("cuda" if has_gpu else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as e:
        raise ConfigError(f"device must be cpu, cuda or one such as cuda:1, got {device!r}") from e
    if chosen.type == "cuda" and (not has_gpu or (chosen.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"device is {device}, but torch finds {torch.cuda.device_count()} GPUs here: use cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device is {device}, which torch does not find here: use cpu")
    return chosen


def choose_dtype(compute_type: str, device: torch.device) -> torch.dtype:
    """The precision of an option; "default" is bfloat16 on a GPU (float16 on one that lacks it), float32 elsewhere.

    Raises:
      ConfigError: Qwen3-ASR has no such precision.
    """
    if compute_type == "default":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if compute_type not in _DTYPES:
        raise ConfigError(f"compute_type of Qwen3-ASR must be default, {', '.join(_DTYPES)}, got {compute_type!r}")
    return _DTYPES[compute_type]


def require_qwen3_asr() -> None:
    """Raise ConfigError if the installed transformers has no Qwen3-ASR."""
    _transformers_classes(RECOGNISER)


class _Classes(NamedTuple):
    model: Any
    processor: Any


def _transformers_classes(kind: str) -> _Classes:
    import transformers

    try:
        return _Classes(getattr(transformers, _CLASSES[kind]), transformers.Qwen3ASRProcessor)
    except (AttributeError, ImportError) as e:
        raise ConfigError(
            f"Qwen3-ASR needs transformers 5.20 or later, and {transformers.__version__} is installed: "
            "pip install -U transformers"
        ) from e


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Suppress its progress bars, and its warnings, which the checks here replace."""
    from transformers.utils import logging as messages

    level, has_bar = messages.get_verbosity(), messages.is_progress_bar_enabled()
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    try:
        yield
    finally:
        messages.set_verbosity(level)
        if has_bar:
            messages.enable_progress_bar()


def _download(name: str, patterns: tuple[str, ...]) -> Path:
    from huggingface_hub import snapshot_download

    return from_hub(lambda: Path(snapshot_download(name, allow_patterns=list(patterns))), name, "model")


def _read_json(path: Path, name: str = "") -> dict[str, Any]:
    name = name or str(path.parent)
    if not path.is_file():
        raise DataError(f"{name} is not a model of transformers: it has no {path.name}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{name}: {path.name} cannot be read: {e}") from e
    if not isinstance(content, dict):
        raise DataError(f"{name}: {path.name} is not a JSON object")
    return content


def _kind(config: Mapping[str, Any]) -> str:
    if is_original(config):
        return ALIGNER if "classify_num" in config["thinker_config"] else RECOGNISER
    return ALIGNER if _CLASSES[ALIGNER] in (config.get("architectures") or ()) else RECOGNISER


def _require_kind(name: str | Path, config: Mapping[str, Any], kind: str) -> None:
    model_type = config.get("model_type")
    if model_type != _MODEL_TYPE:
        what = f"a model of type {model_type}" if model_type else "a model whose config.json names no model_type"
        raise DataError(f"{name} is {what}, not Qwen3-ASR ({_MODEL_TYPE})")
    if _kind(config) == kind:
        return
    if kind == RECOGNISER:
        raise DataError(
            f"{name} is Qwen's forced aligner, which times words that are known and recognises none: "
            f"name a recogniser, such as {HUB_RECOGNISER}"
        )
    raise DataError(f"{name} is a recogniser of Qwen3-ASR, not its forced aligner: name one, such as {HUB_ALIGNER}")


def _require_files(name: str | Path, folder: Path) -> None:
    """The weights, in one file or in the parts that the index names, and a tokenizer; loading needs the rest."""
    needed = [_WEIGHTS]
    if (folder / f"{_WEIGHTS}.index.json").is_file():
        parts = _read_json(folder / f"{_WEIGHTS}.index.json", str(name)).get("weight_map")
        if not isinstance(parts, dict) or not parts:
            raise DataError(f"{name}: {_WEIGHTS}.index.json names no parts of the model")
        needed = sorted(set(map(str, parts.values())))
    needed.append("tokenizer_config.json")
    if not (folder / "vocab.json").is_file():
        needed.append("tokenizer.json")
    for file in needed:
        if not (folder / file).is_file():
            raise DataError(f"{name} is incomplete: it has no {file}; copy or download it again")
        with open(folder / file, "rb") as f:
            if f.read(len(_POINTER)) == _POINTER:
                raise DataError(f"{name}: {file} is a pointer of Git LFS, not the file: run git lfs pull in it")


def _require_same_tokens(name: str | Path, config: Any, processor: Any, kind: str) -> None:
    """Raise DataError unless tokenizer and model agree on the marks that the model is asked with."""
    if not processor.chat_template:
        raise DataError(f"{name} is incomplete: it has no chat_template.jinja; copy or download it again")
    marks = {processor.audio_token: config.audio_token_id}
    if kind == ALIGNER:
        marks["<timestamp>"] = config.timestamp_token_id
    for mark, expected in marks.items():
        if processor.tokenizer.convert_tokens_to_ids(mark) != expected:
            raise DataError(f"{name}: its tokenizer is not the one of its model: {mark} is not id {expected} in it")
    size = config.get_text_config().vocab_size
    if len(processor.tokenizer) > size:
        raise DataError(f"{name}: its tokenizer has {len(processor.tokenizer)} tokens, but its model only {size}")
