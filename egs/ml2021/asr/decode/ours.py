"""A recogniser of this project behind the interface of all recognisers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from lhotse_prep.workflow.digests import digest_file, digest_json, files_of
from lhotse_prep.workflow.errors import ConfigError
from lhotse_prep.workflow.result_options import result_options
from ml2021.asr.decode.config import ASR_FILES, WINDOWS_VERSION, DecodeConfig, file_digests, with_lm_dir
from ml2021.asr.decode.long_form import recognise
from ml2021.asr.decode.options import decode_config
from ml2021.asr.fusion.load import load_fusion
from ml2021.asr.model.load import load_model
from ml2021.asr.search.config import FUSION_METHODS
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.script import convert_script
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord

logger = logging.getLogger(__name__)
FILES = ("config.json", "lang", "pretrained.pt")  # of stage 5's folder


def is_ours(folder: Path) -> bool:
    """Whether it is a folder of stage 5, of import_checkpoint or of an export, also one that lacks a file."""
    return sum((folder / name).exists() for name in FILES) >= 2 and (folder / "lang").is_dir()


class OurRecogniser:
    """Recognises recordings with a model of stage 5, window by window, as options.decode says."""

    def __init__(self, folder: Path, options: RecogniserOptions) -> None:
        """
        Raises:
          DataError: a file of the model, its language model or hotwords is missing or damaged.
          ConfigError: the method of decoding takes no hotwords, or cannot be used with the model.
        """
        self.name = f"{folder.name} of this project" if folder.name != "asr" else str(folder)
        self._folder, self._config = folder, _config(folder, options)
        device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if options.num_threads:
            torch.set_num_threads(options.num_threads)
        self._model, self._tokens = load_model(folder)
        self._model.to(device)
        self._fusion = load_fusion(self._config, self._tokens, device)

    def digests(self) -> Mapping[str, str]:
        """{file: digest} of the model, its language model and hotwords, and "options"."""
        model = {str(path.relative_to(self._folder)): digest_file(path) for path in files_of(self._folder, ASR_FILES)}
        options = [result_options(self._config), WINDOWS_VERSION]
        return model | file_digests(self._config) | {"options": digest_json(options)}

    def recognise(self, audio: Path) -> list[TimedWord]:
        """See Recogniser."""
        words = recognise(audio, self._model, self._tokens, self._config, self._fusion)
        words = convert_script(words, self._config.script)
        if not words:
            raise NoSpeechError(
                f"{audio}: the recogniser gives no words; is it a lecture in the recogniser's language?"
            )
        return words


def _config(folder: Path, options: RecogniserOptions) -> DecodeConfig:
    config = options.decode
    if config is None:
        config = with_lm_dir(decode_config(folder, None), folder.parent)
    if not isinstance(config, DecodeConfig):
        raise ConfigError(f"options.decode must be a DecodeConfig, got {type(config).__name__}")
    if options.script:  # open_recogniser converts
        config = replace(config, script="")
    if options.hotwords is None:
        return config
    if config.decoding_method not in FUSION_METHODS:
        raise ConfigError(
            f"hotwords need a decoding_method of {', '.join(FUSION_METHODS)}; {folder} decodes with "
            f"{config.decoding_method}"
        )
    return replace(config, hotwords_file=str(options.hotwords))
