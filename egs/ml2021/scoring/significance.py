"""How far an error rate may be chance: utterances drawn again, with replacement (Bisani and Ney, 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml2021.scoring.counts import Counts

REPLICATIONS = 1000
SEED = 0


class Interval(NamedTuple):
    """95% of the replications, in percent."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


def interval(counts: Sequence[Counts]) -> Interval | None:
    """The interval of an error rate, from the counts of each utterance; None with fewer than two that have reference
    tokens.

    Utterances without reference tokens take part: what was invented in them counts.
    """
    if _too_few(counts):
        return None
    errors, num_ref = _drawn(counts)
    rates = 100 * errors[num_ref > 0] / num_ref[num_ref > 0]
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high))


def chance_of_improvement(counts: Sequence[Counts], counts2: Sequence[Counts]) -> float | None:
    """The part of the replications, 0..1, in which the second system makes fewer errors on the utterances drawn."""
    if _too_few(counts):
        return None
    return float(np.mean(_drawn(counts2)[0] < _drawn(counts)[0]))


def _too_few(counts: Sequence[Counts]) -> bool:
    return sum(c.num_ref > 0 for c in counts) < 2


def _drawn(counts: Sequence[Counts]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Errors and reference tokens of each replication, (REPLICATIONS,); the draws depend on their number alone."""
    rng = np.random.default_rng(SEED)
    rows = np.array([[c.errors, c.num_ref] for c in counts])
    errors, num_ref = np.array(
        [rows[rng.integers(len(rows), size=len(rows))].sum(axis=0) for _ in range(REPLICATIONS)]
    ).T
    return errors, num_ref
