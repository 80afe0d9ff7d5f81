"""Checks that the tokens can write the texts to train on; those of a published model may be of another script."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import chain, islice
from pathlib import Path

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.train.data import AsrDataModule

NUM_CHECKED = 2000  # windows
MOST_UNKNOWN = 0.2  # of their Chinese characters and words
logger = logging.getLogger(__name__)


def require_writable(data: AsrDataModule, tokens: TokenTable, lang: Path) -> None:
    """Count the Chinese characters and words of training windows that the tokens cannot write, and say how many.

    Args:
      data: the first windows of each of its training sets are read, NUM_CHECKED of all.
      tokens: those to train with.
      lang: their folder, for the message.
    Raises:
      DataError: they are more than MOST_UNKNOWN.
    """
    unknown, total = Counter[str](), 0
    sets = [*data.train_sets(), *data.replay.sets()]
    for cut in chain.from_iterable(islice(cuts, -(-NUM_CHECKED // len(sets))) for cuts in sets):
        words = cut.supervisions[0].text.split()
        total += len(words)
        encoded = zip(words, tokens.encode_words(" ".join(words)), strict=True)
        unknown.update(word for word, ids in encoded if tokens.special.unk in ids)
    count = unknown.total()
    if not count:
        return
    examples = ", ".join(word for word, _ in unknown.most_common(5))
    if count > MOST_UNKNOWN * total:
        raise DataError(
            f"the tokens of {lang} cannot write {count / total:.0%} of the characters and words of the training "
            f"windows ({examples}), over {MOST_UNKNOWN:.0%}: are the tokens of another script or language? Convert the "
            "transcripts (text.script in prep.yaml: t2s for Simplified tokens), or train with the tokens that stage 2 "
            "makes"
        )
    logger.warning(
        "the tokens of %s cannot write %d of %d characters and words of the first training windows (%s); they are "
        "trained as <unk>",
        lang,
        count,
        total,
        examples,
    )
