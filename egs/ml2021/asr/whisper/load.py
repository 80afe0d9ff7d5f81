"""Load a Whisper model with faster-whisper, with its errors as one line."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lhotse_prep.workflow.ctranslate2_device import ctranslate2_device
from lhotse_prep.workflow.errors import ConfigError, DataError

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

_DEVICE = re.compile(r"(?P<kind>cpu|cuda)(?::(?P<index>\d+))?")
_MOST_THREADS = 16  # more make a model slower


def load_whisper(folder: Path, device: str, compute_type: str, num_threads: int) -> WhisperModel:
    """
    Args:
      folder: of model_folder.
      device: cpu, cuda or cuda:1; empty for the GPU where CTranslate2 can use one.
      compute_type: CTranslate2's, such as int8; `default` is the type that the model is stored in, or the nearest one.
      num_threads: on a CPU; 0 for all.
    Raises:
      ConfigError: the device or the type cannot be used here.
      DataError: the model is damaged.
    """
    from faster_whisper import WhisperModel
    from faster_whisper.feature_extractor import FeatureExtractor

    match = _DEVICE.fullmatch(device or ctranslate2_device())
    if match is None:
        raise ConfigError(f"device must be cpu, cuda or cuda with a number, such as cuda:1, got {device!r}")
    _check_type(match["kind"], int(match["index"] or 0), compute_type)
    # OMP_NUM_THREADS counts where it is set: 0 leaves the number to CTranslate2, which looks there.
    all_threads = 0 if os.environ.get("OMP_NUM_THREADS") else min(os.cpu_count() or 1, _MOST_THREADS)
    try:
        with _quiet():
            model = WhisperModel(
                str(folder),
                device=match["kind"],
                device_index=int(match["index"] or 0),
                compute_type=compute_type,
                cpu_threads=num_threads or all_threads,
            )
    except Exception as e:  # RuntimeError, ValueError, and those of the tokenizer, which are plain exceptions
        reason = " ".join(str(e).split())[:300]
        raise DataError(
            f"Whisper model {folder} cannot be loaded on {match[0]}: {reason}; if its files are damaged, copy it again"
        ) from e
    if model.feature_extractor.mel_filters.shape[0] != model.model.n_mels:  # without its preprocessor_config.json
        model.feature_extractor = FeatureExtractor(feature_size=model.model.n_mels)
    return model


def _check_type(kind: str, index: int, compute_type: str) -> None:
    import ctranslate2

    try:
        types = sorted(ctranslate2.get_supported_compute_types(kind, index))
    except (RuntimeError, ValueError) as e:
        raise ConfigError(
            f"device {kind}:{index} cannot be used by CTranslate2 here ({e}): choose another, or cpu"
        ) from e
    if kind == "cuda" and ctranslate2_device() != kind:  # which warns with the reason
        raise ConfigError(f"device {kind}:{index} cannot be used by CTranslate2 here: choose cpu, or mend its CUDA")
    if compute_type not in (*types, "default", "auto"):
        raise ConfigError(
            f"compute_type {compute_type!r} is not one that {kind} can do here: default, auto, {', '.join(types)}"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without CTranslate2's warning about models that are stored in a type which the device does not compute in."""
    import ctranslate2

    level = ctranslate2.get_log_level()
    ctranslate2.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        ctranslate2.set_log_level(level)
