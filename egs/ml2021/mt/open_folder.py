"""Models and vocabularies of all families (Marian; M2M100 and NLLB) opened alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.multilingual import LANGUAGES, MultilingualVocabulary
from ml2021.mt.vocabulary import MarianVocabulary, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def open_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary of a model's folder, whether transformers' or CTranslate2's.

    Raises:
      DataError: a file is missing or damaged.
    """
    return MultilingualVocabulary(folder) if (folder / LANGUAGES).is_file() else MarianVocabulary(folder)


def load_model(folder: Path, vocabulary: Vocabulary) -> PreTrainedModel:
    """A model in float32, whatever it is stored in. No layer is ever left out: each is to have a gradient.

    Raises:
      DataError: it is damaged, or of another vocabulary.
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
    """The error of a vocabulary beside another's model."""
    return DataError(
        f"the vocabulary in {folder} is not the one that its model was trained with; "
        "copy the vocabulary's files and the weights from one training, or convert again (stage 11)"
    )
