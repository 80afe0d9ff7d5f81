"""Load the model and the vocabulary of a folder, whichever family they belong to: Marian, or M2M100 and NLLB."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.multilingual import LANGUAGES, MultilingualVocabulary
from ml2021.mt.vocabulary import MarianVocabulary, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_vocabulary(folder: Path) -> Vocabulary:
    """Load the vocabulary from a model folder of transformers or of CTranslate2.

    Raises:
      DataError: a file is missing or damaged.
    """
    return MultilingualVocabulary(folder) if (folder / LANGUAGES).is_file() else MarianVocabulary(folder)


def load_model(folder: Path, vocabulary: Vocabulary) -> PreTrainedModel:
    """Load a model in float32, whatever precision it is stored in, with layer dropout off so that every layer trains.

    Raises:
      DataError: the model is damaged or has another vocabulary.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM

    try:
        model: PreTrainedModel = AutoModelForSeq2SeqLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, encoder_layerdrop=0.0, decoder_layerdrop=0.0
        )
    except (OSError, ValueError, RuntimeError) as e:
        raise DataError(f"{folder} cannot be read as a translation model: {str(e).splitlines()[0]}") from e
    if not vocabulary.fits(model.config):
        raise wrong_vocabulary(folder)
    return model


def wrong_vocabulary(folder: Path) -> DataError:
    """The error for a folder whose vocabulary and model do not belong together."""
    return DataError(
        f"the vocabulary in {folder} is not the one that its model was trained with; "
        "copy the vocabulary files and the weights from the same training run, or convert again (stage 11)"
    )
