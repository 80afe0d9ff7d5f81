"""Convert a transformers model folder to a CTranslate2 folder, which keeps the vocabulary beside the weights."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from pathlib import Path

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.load import load_vocabulary
from ml2021.mt.vocabulary import Vocabulary


def convert(marian_dir: Path, out_dir: Path, vocabulary: Vocabulary | None = None) -> None:
    """Convert with CTranslate2's own converter, in float32; out_dir appears only once it is complete.

    Args:
      marian_dir: model and tokenizer, as stage 8 writes them.
      out_dir: replaced if it exists.
      vocabulary: that of the model, if it is loaded.
    Raises:
      DataError: marian_dir has no model, or CTranslate2 cannot convert it.
    """
    import transformers
    from ctranslate2.converters import TransformersConverter

    if not (marian_dir / "config.json").is_file():
        raise DataError(f"{marian_dir} is not a translation model: it has no config.json; stage 8 writes one")
    vocabulary = vocabulary or load_vocabulary(marian_dir)
    work = out_dir.with_name(f".{out_dir.name}.tmp")
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
            warnings.simplefilter("ignore")
            converter = TransformersConverter(str(marian_dir))
            converter.convert(str(work), force=True)
            vocabulary.save(work)
    except (ValueError, RuntimeError, OSError) as e:
        raise DataError(f"{marian_dir} cannot be converted for CTranslate2: {str(e).splitlines()[0]}") from e
    finally:
        transformers.logging.set_verbosity(verbosity)
    shutil.rmtree(out_dir, ignore_errors=True)
    work.rename(out_dir)
