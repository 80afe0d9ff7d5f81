"""Load a published model, from a local folder or the Hugging Face hub, to start training from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.hub import model_folder
from ml2021.mt.config import MAX_POSITIONS
from ml2021.mt.load import load_model, load_vocabulary
from ml2021.mt.model import use_plain_search
from ml2021.mt.multilingual import LANGUAGES, read_tokenizer
from ml2021.mt.vocabulary import FILES, SOURCE_STYLE, SourceStyle, Vocabulary

MULTILINGUAL = "m2m_100"  # the model_type of both M2M100 and NLLB
KINDS = {"marian": FILES, MULTILINGUAL: ("tokenizer_config.json",)}  # {model_type: files needed beside the weights}


def find_pretrained(name: str) -> Path:
    """Return the folder of a model that training can start from; a name on the hub is downloaded.

    Raises:
      DataError: name is neither a folder nor available from the hub, or the model is incomplete or not of KINDS.
    """

    def check(folder: Path) -> None:
        kind = str(read_model_config(folder, f"init_from {name}").get("model_type"))
        if kind not in KINDS:
            raise DataError(
                f"init_from {name} is a {kind} model; training can only start from {' or '.join(KINDS)} models"
            )
        check_files(folder, kind, f"init_from {name}")

    return model_folder(name, "init_from", check)


def read_model_config(folder: Path, what: str) -> dict[str, Any]:
    """The config.json of a model; raises DataError if it is missing or damaged. `what` begins the message."""
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(f"{what} is not a model of transformers: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise DataError(f"{what} is damaged: its config.json is not JSON ({e}); copy it again") from e
    if not isinstance(config, dict):
        raise DataError(f"{what} is damaged: its config.json is no JSON object; copy it again")
    return config


def check_files(folder: Path, kind: str, what: str) -> None:
    """Raise DataError if a model of one of KINDS lacks a file beside the weights. `what` begins the message."""
    for file in KINDS[kind]:
        if not (folder / file).is_file():
            raise DataError(f"{what} is an incomplete {kind} model: it has no {file}")
    if kind == "marian" and (folder / "target_vocab.json").is_file():
        raise DataError(f"{what} has a vocabulary for each language; only models with one for both can be used")


def load_pretrained(folder: Path, vocabulary: Vocabulary) -> PreTrainedModel:
    """Load a published model so that it can be trained and exported like our own.

    Raises:
      DataError: the model is damaged, has another vocabulary, or fewer than MAX_POSITIONS positions.
    """
    model = load_model(folder, vocabulary)
    config = model.config
    if config.max_position_embeddings < MAX_POSITIONS:
        raise DataError(f"{folder} has {config.max_position_embeddings} positions, but {MAX_POSITIONS} are needed")
    use_plain_search(model)
    return model


def copy_vocabulary(pretrained: Path, folder: Path, source_lang: str = "", target_lang: str = "") -> Vocabulary:
    """Copy the vocabulary of a published model to a folder, which is emptied first, and load it.

    Published models read Chinese without spaces between characters; models of this project may have them.

    Args:
      source_lang, target_lang: language codes of an M2M100 or NLLB model; empty for Marian.
    Raises:
      ConfigError: the model does not have these languages.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if read_model_config(pretrained, str(pretrained)).get("model_type") == MULTILINGUAL:
        read_tokenizer(pretrained).save_pretrained(folder)
        write_json(folder / LANGUAGES, {"source": source_lang, "target": target_lang})
        return load_vocabulary(folder)
    if source_lang or target_lang:
        raise ConfigError(
            f"{pretrained} is a Marian model, which has one pair of languages: remove mt.source_lang and mt.target_lang"
        )
    style = pretrained / SOURCE_STYLE  # models of this project have it
    if style.is_file():
        shutil.copyfile(style, folder / SOURCE_STYLE)
    else:
        SourceStyle(spaced=_is_ours(pretrained)).write(folder)
    for file in FILES:
        shutil.copyfile(pretrained / file, folder / file)
    return load_vocabulary(folder)


def _is_ours(folder: Path) -> bool:
    """Whether it is a model of this project: both sides have the same sentencepiece model, unlike published models."""
    return (folder / FILES[0]).read_bytes() == (folder / FILES[1]).read_bytes()
