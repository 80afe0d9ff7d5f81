"""Bootstrap confidence intervals of error rates and paired comparisons of systems (Bisani and Ney, 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml2021.scoring.counts import Counts

REPLICATIONS = 1000
SEED = 0


class Interval(NamedTuple):
    """The range of the middle 95% of the replications, as error rates in percent."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


def interval(counts: Sequence[Counts]) -> Interval | None:
    """The 95% interval of an error rate; None if fewer than two utterances have reference tokens.

    Args:
      counts: of each utterance. Insertions in utterances without reference tokens count, too.
    """
    if _too_few(counts):
        return None
    errors, num_ref = _resample(counts)
    rates = 100 * errors[num_ref > 0] / num_ref[num_ref > 0]
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high))


def chance_of_improvement(counts: Sequence[Counts], counts2: Sequence[Counts]) -> float | None:
    """The fraction of replications in which the second system makes fewer errors than the first, 0..1.

    Args:
      counts, counts2: of each utterance, by the first and the second system.
    Returns:
      None if fewer than two utterances have reference tokens.
    """
    if _too_few(counts):
        return None
    return float(np.mean(_resample(counts2)[0] < _resample(counts)[0]))


def _too_few(counts: Sequence[Counts]) -> bool:
    return sum(c.num_ref > 0 for c in counts) < 2


def _resample(counts: Sequence[Counts]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Errors and reference tokens of each replication, (REPLICATIONS,) each; the draws depend only on len(counts)."""
    rng = np.random.default_rng(SEED)
    rows = np.array([[c.errors, c.num_ref] for c in counts])
    errors, num_ref = np.array(
        [rows[rng.integers(len(rows), size=len(rows))].sum(axis=0) for _ in range(REPLICATIONS)]
    ).T
    return errors, num_ref
