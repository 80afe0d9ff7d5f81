"""Check a translator converted to CTranslate2 against the model that it was converted from."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from lhotse_prep.workflow.errors import DataError
from ml2021.mt.config import TranslateConfig
from ml2021.mt.data import contexts_of, read_bitext
from ml2021.mt.translate import load_translator

MIN_SAME = 80.0  # percent of translations that must be equal; rounding may decide between two equally good ones
logger = logging.getLogger(__name__)


def compare_translations(
    marian_dir: Path, ctranslate2_dir: Path, bitext: Path, config: TranslateConfig, num_sentences: int
) -> dict[str, float | None]:
    """Translate the first sentences of a bitext file with both models.

    Returns:
      ctranslate2_num_sentences, and ctranslate2_same_percent: how many of their translations are equal.
    Raises:
      DataError: fewer than MIN_SAME percent are equal, so the conversion changed the model.
    """
    pairs = read_bitext(bitext)[:num_sentences]
    sentences = [p.tokens for p in pairs]
    translators = [
        load_translator(folder, replace(config, engine=engine))
        for folder, engine in ((marian_dir, "transformers"), (ctranslate2_dir, "ctranslate2"))
    ]
    ours, theirs = ([t.text for t in x.translate(sentences, contexts_of(pairs, x.context))] for x in translators)
    num_same = sum(a == b for a, b in zip(theirs, ours, strict=True))
    logger.info("%d sentences: %d translations are the same with CTranslate2", len(pairs), num_same)
    same_percent = round(100 * num_same / len(pairs), 2) if pairs else None
    if same_percent is not None and same_percent < MIN_SAME:
        pair, theirs_first, ours_first = next(x for x in zip(pairs, theirs, ours, strict=True) if x[1] != x[2])
        raise DataError(
            f"only {same_percent:g}% of {len(pairs)} translations of {ctranslate2_dir} equal those of {marian_dir}, "
            f"at least {MIN_SAME:g}% must: {pair.id} is {theirs_first[:60]!r}, not {ours_first[:60]!r}; CTranslate2 "
            "needs the embedding of its padding to be zero: train it again with stage 8"
        )
    return {"ctranslate2_num_sentences": len(pairs), "ctranslate2_same_percent": same_percent}
