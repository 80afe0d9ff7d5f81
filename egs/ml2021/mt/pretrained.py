"""A published Marian model (a local folder, or a name on the Hugging Face hub) to begin training with."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from transformers import MarianMTModel

from lhotse_prep.errors import DataError
from lhotse_prep.stages import write_json
from ml2021.mt.config import MAX_POSITIONS
from ml2021.mt.model import leave_out_padding
from ml2021.mt.vocabulary import FILES, SOURCE_STYLE, Vocabulary

logger = logging.getLogger(__name__)


def find_pretrained(name: str) -> Path:
    """The folder itself, or the hub's, downloaded.

    Raises:
      DataError: neither a folder nor to be had from the hub, or no Marian model.
    """
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.spm", "*.bin", "*.safetensors"]))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as e:
            raise DataError(
                f"init_from {name} is no folder, and the hub does not give it: {str(e).splitlines()[0]}"
            ) from e
    for file in ("config.json", *FILES):
        if not (folder / file).is_file():
            raise DataError(f"init_from {name} is no Marian model: no {file} in it")
    kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    if kind != "marian":
        raise DataError(f"init_from {name} is a {kind} model; training begins with Marian models only")
    return folder


def load_pretrained(folder: Path, vocabulary: Vocabulary) -> MarianMTModel:
    """The model with its own vocabulary, ready to be trained and exported as one of ours.

    Raises:
      DataError: damaged, or of another vocabulary, or with fewer positions than we need.
    """
    try:
        model = MarianMTModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as e:
        raise DataError(f"{folder} cannot be read as a Marian model: {str(e).splitlines()[0]}") from e
    config = model.config
    if config.vocab_size != len(vocabulary) or config.decoder_start_token_id != vocabulary.pad_id:
        raise DataError(
            f"the model in {folder} has {config.vocab_size} pieces and begins with number "
            f"{config.decoder_start_token_id}, its vocab.json {len(vocabulary)} pieces and {vocabulary.pad_id}: "
            "take both from one training"
        )
    if config.max_position_embeddings < MAX_POSITIONS:
        raise DataError(f"{folder} has {config.max_position_embeddings} positions, needed are {MAX_POSITIONS}")
    leave_out_padding(model)
    return model


def copy_vocabulary(pretrained: Path, folder: Path) -> Vocabulary:
    """The vocabulary of a published model, whose sources are written without spaces between Chinese characters."""
    folder.mkdir(parents=True, exist_ok=True)
    style = pretrained / SOURCE_STYLE  # a model of ours brings its own
    if style.is_file():
        shutil.copyfile(style, folder / SOURCE_STYLE)
    else:
        write_json(folder / SOURCE_STYLE, {"spaced": _is_ours(pretrained)})
    for file in FILES:
        shutil.copyfile(pretrained / file, folder / file)
    return Vocabulary(folder)


def _is_ours(folder: Path) -> bool:
    """Our vocabularies have one sentencepiece model for both sides; published ones have one for each."""
    return (folder / FILES[0]).read_bytes() == (folder / FILES[1]).read_bytes()
