"""A folder of transformers -> a CTranslate2 folder with the vocabulary beside the weights."""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from pathlib import Path

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.open_folder import open_vocabulary


def convert(marian_dir: Path, out_dir: Path, quantization: str | None = None) -> None:
    """Convert with CTranslate2's own converter; out_dir appears whole.

    Args:
      marian_dir: model and tokenizer, as stage 8 leaves them.
      quantization: None keeps float32; int8, int8_float32 ... as CTranslate2 names them.
    """
    import transformers
    from ctranslate2.converters import TransformersConverter

    if not (marian_dir / "config.json").is_file():
        raise DataError(f"{marian_dir} is no translation model: no config.json in it; stage 8 writes one")
    vocabulary = open_vocabulary(marian_dir)
    work = out_dir.with_name(f".{out_dir.name}.tmp")
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as null, contextlib.redirect_stderr(null):
            warnings.simplefilter("ignore")
            converter = TransformersConverter(str(marian_dir))
            converter.convert(str(work), quantization=quantization, force=True)
            vocabulary.save(work)
    except (ValueError, RuntimeError, OSError) as e:
        raise DataError(f"{marian_dir} cannot be converted for CTranslate2: {str(e).splitlines()[0]}") from e
    finally:
        transformers.logging.set_verbosity(verbosity)
    shutil.rmtree(out_dir, ignore_errors=True)
    work.rename(out_dir)
