"""True times of lectures, transcripts with deletions, and statistics of alignment errors, for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Truth = list[tuple[float, float, str]]  # (begin in seconds, end in seconds, text) of each stretch


def read_truth(folder: Path) -> dict[str, Truth]:
    """The contents of LECTURE.json files in a folder, by lecture."""
    return {
        p.stem: [(float(b), float(e), str(t)) for b, e, t in json.loads(p.read_text(encoding="utf-8"))]
        for p in sorted(folder.glob("*.json"))
    }


def without_some(stretches: Truth, seconds: float, rng: np.random.Generator) -> Truth:
    """The stretches that do not begin in a random span of so many seconds."""
    begin = rng.uniform(0, stretches[-1][1] - seconds)
    return [x for x in stretches if not begin <= x[0] < begin + seconds]


def share_off(errors: Sequence[float], seconds: float) -> float:
    """The share of errors of more than so many seconds; one without a time is infinite."""
    return float((np.array(errors) > seconds).mean())


@dataclass(frozen=True)
class Figures:
    """Errors of the starts of true stretches; the error of a stretch without a time is infinite."""

    count: int
    median: float  # milliseconds
    p95: float
    worst: float  # of the stretches that have a time; infinite if none has
    untimed: int
    far: int  # more than 2 s off

    @classmethod
    def of(cls, errors: Sequence[float]) -> Figures:
        """The figures of errors in seconds."""
        off = 1000 * np.array(errors)
        timed = off[np.isfinite(off)]
        median, p95 = (float(np.quantile(off, q, method="higher")) for q in (0.5, 0.95))
        far = int((timed > 2000).sum())
        return cls(len(off), median, p95, float(timed.max()) if len(timed) else np.inf, len(off) - len(timed), far)
