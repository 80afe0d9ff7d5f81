"""Checks that the tokens can write the texts to train on; those of a published model may be of another script."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from lhotse.cut import Cut

from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.train.data import AsrDataModule

NUM_CHECKED = 2000  # windows
MOST_UNKNOWN = 0.2  # of their Chinese characters and words
logger = logging.getLogger(__name__)


@dataclass
class UnknownWords:
    """Chinese characters and words of windows that something cannot write."""

    words: Counter[str] = field(default_factory=Counter)
    total: int = 0  # of all characters and words
    num_windows: int = 0  # with at least one of them

    @property
    def count(self) -> int:
        """How many there are."""
        return self.words.total()

    @property
    def are_too_many(self) -> bool:
        """Whether training with them makes no sense."""
        return self.count > MOST_UNKNOWN * self.total

    @property
    def examples(self) -> str:
        """The most frequent ones."""
        return ", ".join(word for word, _ in self.words.most_common(5))


def unknown_words(cuts: Iterable[Cut], unknown_of: Callable[[Sequence[str]], Iterable[str]]) -> UnknownWords:
    """Count the words of windows that cannot be written; unknown_of gives those of a text's words."""
    result = UnknownWords()
    for cut in cuts:
        words = cut.supervisions[0].text.split()
        unknown = list(unknown_of(words))
        result.words.update(unknown)
        result.total += len(words)
        result.num_windows += bool(unknown)
    return result


def require_writable(data: AsrDataModule, tokens: TokenTable, lang: Path) -> None:
    """Count the Chinese characters and words of training windows that the tokens cannot write, and say how many.

    Args:
      data: the first windows of each of its training sets are read, NUM_CHECKED of all.
      tokens: those to train with.
      lang: their folder, for the message.
    Raises:
      DataError: they are more than MOST_UNKNOWN.
    """

    def unknown_of(words: Sequence[str]) -> list[str]:
        encoded = zip(words, tokens.encode_words(" ".join(words)), strict=True)
        return [word for word, ids in encoded if tokens.special.unk in ids]

    sets = [*data.train_sets(), *data.replay.sets()]
    first = chain.from_iterable(islice(cuts, -(-NUM_CHECKED // len(sets))) for cuts in sets)
    unknown = unknown_words(first, unknown_of)
    if not unknown.count:
        return
    if unknown.are_too_many:
        raise DataError(
            f"the tokens of {lang} cannot write {unknown.count / unknown.total:.0%} of the characters and words of the "
            f"training windows ({unknown.examples}), over {MOST_UNKNOWN:.0%}: are the tokens of another script or "
            "language? Convert the transcripts (text.script in prep.yaml: t2s for Simplified tokens), or train "
            "with the tokens that stage 2 makes"
        )
    logger.warning(
        "the tokens of %s cannot write %d of %d characters and words of the first training windows (%s); they are "
        "trained as <unk>",
        lang,
        unknown.count,
        unknown.total,
        unknown.examples,
    )
