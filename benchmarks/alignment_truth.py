"""True times of lectures, some text of them left out, and how far found times are off, for benchmarks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Truth = list[tuple[float, float, str]]  # begin and end in seconds, spaced tokens


def read_truth(folder: Path) -> dict[str, Truth]:
    """LECTURE.json of a folder, by the lecture's name."""
    return {
        p.stem: [(float(b), float(e), str(t)) for b, e, t in json.loads(p.read_text(encoding="utf-8"))]
        for p in sorted(folder.glob("*.json"))
    }


def without_some(stretches: Truth, seconds: float, rng: np.random.Generator) -> Truth:
    """Those that do not begin in a random span of so many seconds."""
    begin = rng.uniform(0, stretches[-1][1] - seconds)
    return [x for x in stretches if not begin <= x[0] < begin + seconds]


@dataclass(frozen=True)
class Figures:
    """Of the starts of true stretches; one without a time is infinitely far off."""

    count: int
    median: float  # milliseconds
    p95: float
    worst: float  # of those that have a time
    untimed: int
    far: int  # more than 2 s off

    @classmethod
    def of(cls, errors: Sequence[float]) -> Figures:
        """Of errors in seconds."""
        off = 1000 * np.array(errors)
        timed = off[np.isfinite(off)]
        median, p95 = (float(np.quantile(off, q, method="higher")) for q in (0.5, 0.95))
        far = int((timed > 2000).sum())
        return cls(len(off), median, p95, float(timed.max()), len(off) - len(timed), far)
