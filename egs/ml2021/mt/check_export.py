"""A converted translator held against the one it was converted from."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from lhotse_prep.errors import DataError
from ml2021.mt.config import TranslateConfig
from ml2021.mt.data import read_bitext
from ml2021.mt.translate import load_translator

logger = logging.getLogger(__name__)


def compare_translations(
    marian_dir: Path, ctranslate2_dir: Path, bitext: Path, config: TranslateConfig, num_sentences: int
) -> dict[str, float | None]:
    """Translate the first sentences of a bitext file with both.

    Returns:
      ctranslate2_num_sentences; ctranslate2_same_percent of them have equal translations.
    Raises:
      DataError: CTranslate2 gives nothing for a sentence that the Marian model translates.
    """
    pairs = read_bitext(bitext)[:num_sentences]
    sentences = [p.tokens for p in pairs]
    theirs, ours = (
        load_translator(folder, replace(config, engine=engine)).translate(sentences)
        for folder, engine in ((ctranslate2_dir, "ctranslate2"), (marian_dir, "transformers"))
    )
    for pair, translation, wanted in zip(pairs, theirs, ours, strict=True):
        if wanted and not translation:
            raise DataError(f"{ctranslate2_dir} has no translation for {pair.id}, {marian_dir} has: {wanted[:80]!r}")
    num_same = sum(a == b for a, b in zip(theirs, ours, strict=True))
    logger.info("%d sentences: %d translations the same with CTranslate2", len(pairs), num_same)
    same_percent = round(100 * num_same / len(pairs), 2) if pairs else None
    return {"ctranslate2_num_sentences": len(pairs), "ctranslate2_same_percent": same_percent}
