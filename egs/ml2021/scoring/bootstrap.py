"""How far an error rate may be chance: utterances drawn again, with replacement (Bisani and Ney, 2004)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign

REPLICATIONS = 1000
SEED = 0


@dataclass(frozen=True)
class Interval:
    """95% of the replications, in percent."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


def interval(refs: Sequence[Sequence[str]], hyps: Sequence[Sequence[str]]) -> Interval | None:
    """The interval of an error rate of utterances given as tokens; None with fewer than two that have reference tokens.

    Utterances without reference tokens take part: what was invented in them counts.
    """
    if sum(map(bool, refs)) < 2:
        return None
    found = kaldialign.bootstrap_wer_ci(refs, hyps, replications=REPLICATIONS, seed=SEED)
    low, high = 100 * found["ci95min"], 100 * found["ci95max"]
    if not (math.isfinite(low) and math.isfinite(high)):  # a replication drew no reference token at all
        return None
    return Interval(max(0.0, low), high)


def chance_of_improvement(
    refs: Sequence[Sequence[str]], hyps: Sequence[Sequence[str]], hyps2: Sequence[Sequence[str]]
) -> float | None:
    """The part of the replications, 0..1, in which the second system makes fewer errors on the utterances drawn."""
    if sum(map(bool, refs)) < 2:
        return None
    found = kaldialign.bootstrap_wer_ci(refs, hyps, hyps2, replications=REPLICATIONS, seed=SEED)
    return float(found["p_s2_improv_over_s1"])
