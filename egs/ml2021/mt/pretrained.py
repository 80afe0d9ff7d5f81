"""A published model (a local folder, or a name on the Hugging Face hub) to begin training with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from transformers import GenerationConfig, MarianMTModel, PreTrainedModel

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from ml2021.mt.config import MAX_POSITIONS
from ml2021.mt.load import load_model, load_vocabulary
from ml2021.mt.model import leave_out_padding
from ml2021.mt.multilingual import LANGUAGES, read_tokenizer
from ml2021.mt.vocabulary import FILES, SOURCE_STYLE, Vocabulary

MULTILINGUAL = "m2m_100"  # model_type of M2M100 and NLLB
KINDS = {"marian": FILES, MULTILINGUAL: ("tokenizer_config.json",)}  # and the files that a model needs besides


def find_pretrained(name: str) -> Path:
    """The folder itself, or the hub's, downloaded.

    Raises:
      DataError: neither a folder nor to be had from the hub, or of a kind that we cannot train.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        wanted = ["*.json", "*.spm", "*.model", "*.bin", "*.safetensors"]
        try:
            folder = Path(snapshot_download(name, allow_patterns=wanted))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as e:
            raise DataError(
                f"init_from {name} is no folder, and the hub does not give it: {str(e).splitlines()[0]}"
            ) from e
    if not (folder / "config.json").is_file():
        raise DataError(f"init_from {name} is no model of transformers: no config.json in it")
    kind = _kind(folder)
    if kind not in KINDS:
        raise DataError(f"init_from {name} is a {kind} model; training begins with {' or '.join(KINDS)} models only")
    for file in KINDS[kind]:
        if not (folder / file).is_file():
            raise DataError(f"init_from {name} is no whole {kind} model: no {file} in it")
    return folder


def load_pretrained(folder: Path, vocabulary: Vocabulary) -> PreTrainedModel:
    """The model with its own vocabulary, ready to be trained and exported as one of ours.

    Raises:
      DataError: damaged, or of another vocabulary, or with fewer positions than we need.
    """
    model = load_model(folder, vocabulary)
    config = model.config
    if config.max_position_embeddings < MAX_POSITIONS:
        raise DataError(f"{folder} has {config.max_position_embeddings} positions, needed are {MAX_POSITIONS}")
    if isinstance(model, MarianMTModel):
        leave_out_padding(model)
    else:  # its own values of search would not be those that CTranslate2 is given
        model.generation_config = GenerationConfig(
            pad_token_id=config.pad_token_id,
            bos_token_id=config.bos_token_id,
            eos_token_id=config.eos_token_id,
            decoder_start_token_id=config.decoder_start_token_id,
        )
    return model


def copy_vocabulary(pretrained: Path, folder: Path, source_lang: str = "", target_lang: str = "") -> Vocabulary:
    """The vocabulary of a published model, whose sources are written without spaces between Chinese characters.

    Args:
      source_lang, target_lang: codes of languages that an M2M100 or NLLB model knows; empty for Marian.
    Raises:
      ConfigError: the model knows no such languages.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if _kind(pretrained) == MULTILINGUAL:
        read_tokenizer(pretrained).save_pretrained(folder)
        write_json(folder / LANGUAGES, {"source": source_lang, "target": target_lang})
        return load_vocabulary(folder)
    if source_lang or target_lang:
        raise ConfigError(
            f"{pretrained} is a Marian model, of one pair of languages: leave mt.source_lang and mt.target_lang out"
        )
    style = pretrained / SOURCE_STYLE  # a model of ours brings its own
    if style.is_file():
        shutil.copyfile(style, folder / SOURCE_STYLE)
    else:
        write_json(folder / SOURCE_STYLE, {"spaced": _is_ours(pretrained)})
    for file in FILES:
        shutil.copyfile(pretrained / file, folder / file)
    return load_vocabulary(folder)


def _kind(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type"))


def _is_ours(folder: Path) -> bool:
    """Our vocabularies have one sentencepiece model for both sides; published ones have one for each."""
    return (folder / FILES[0]).read_bytes() == (folder / FILES[1]).read_bytes()
