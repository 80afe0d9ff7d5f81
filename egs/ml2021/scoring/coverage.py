"""How much of the transcripts the windows hold, and the error rate if all other words count as deletions.

Windows leave out the words that the aligner could not time, so their rate alone looks better than the recogniser is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.counts import Counts, ErrorRate, mer_tokens


@dataclass(frozen=True)
class Coverage:
    """The scored windows of a part, compared with its transcripts. Words are the tokens of mer_tokens."""

    num_scored: int  # words in windows
    num_transcribed: int  # words in transcripts
    complete: ErrorRate  # the rate of the windows, with the words outside as deletions; without alignments

    @property
    def percent(self) -> float | None:
        """Words in windows as a percentage of the transcripts' words; None without words."""
        return round(100 * self.num_scored / self.num_transcribed, 3) if self.num_transcribed else None

    def summary(self) -> dict[str, float | None]:
        """The figures for scores.json."""
        return {"percent": self.percent, "words": self.num_scored, "words_transcribed": self.num_transcribed}

    def __str__(self) -> str:
        percent = "no words" if self.percent is None else f"{self.percent:.2f}%"
        return (
            f"windows hold {percent} of the transcripts' words ({self.num_scored} / {self.num_transcribed}); with the "
            f"others as deletions, MER {self.complete.total}"
        )


def coverage(rate: ErrorRate, transcripts: Iterable[str]) -> Coverage:
    """Compare scored windows with the transcripts of their part.

    Args:
      rate: scores of the windows.
      transcripts: the whole text of each lecture.
    Raises:
      DataError: the windows have more words than the transcripts.
    """
    words = [word for text in transcripts for word in mer_tokens(text)]
    num_zh = sum(is_han(word[0]) for word in words)
    complete = ErrorRate(
        total=_with_deletions(rate.total, len(words)),
        zh=_with_deletions(rate.zh, num_zh),
        en=_with_deletions(rate.en, len(words) - num_zh),
        switches=rate.switches,
    )
    return Coverage(rate.total.num_ref, len(words), complete)


def _with_deletions(counts: Counts, num_transcribed: int) -> Counts:
    num_missing = num_transcribed - counts.num_ref
    if num_missing < 0:
        raise DataError(
            f"the windows have {counts.num_ref} words, but their transcripts {num_transcribed}: the windows are of "
            "other manifests; run stages 3 and 4 again"
        )
    return replace(counts, num_ref=num_transcribed, deletions=counts.deletions + num_missing)
