#!/usr/bin/env python3
"""Alignment errors of a synthetic 72-minute lecture caused by faults in its transcript, for models of three qualities.

    . ./path.sh; python benchmarks/align_robustness.py --seeds 1 2 3

Prints a table for RESULTS.md with the worst result over the seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.align_synthetic import (
    CLEAN,
    FRAMES_PER_SECOND,
    HARD,
    MEDIUM,
    Speech,
    Text,
    delete_block,
    delete_scattered,
    delete_seconds,
    emissions,
    insert_unspoken,
    replace_block,
    speech,
    substitute,
    true_text,
)
from lhotse_prep.alignment.search.align import align
from lhotse_prep.alignment.search.strays import drop_strays
from ml2021.asr.aligner.config import AlignerConfig

Fault = Callable[[np.random.Generator, Speech], Text]
STAGE_3 = AlignerConfig()


def _all(rng: np.random.Generator, spoken: Speech) -> Text:
    text = delete_scattered(rng, true_text(spoken))
    return insert_unspoken(rng, substitute(rng, delete_seconds(rng, delete_block(rng, text))))


FAULTS: dict[str, Fault] = {
    "none": lambda rng, spoken: true_text(spoken),
    "10% deleted, scattered": lambda rng, spoken: delete_scattered(rng, true_text(spoken)),
    "10% deleted, one block": lambda rng, spoken: delete_block(rng, true_text(spoken)),
    "60 s of speech without text": lambda rng, spoken: delete_seconds(rng, true_text(spoken)),
    "180 unspoken tokens, one run": lambda rng, spoken: insert_unspoken(rng, true_text(spoken)),
    "180 unspoken tokens, 9 runs": lambda rng, spoken: insert_unspoken(rng, true_text(spoken), num_runs=9),
    "180 tokens in a row are others": lambda rng, spoken: replace_block(rng, true_text(spoken)),
    "5% substituted": lambda rng, spoken: substitute(rng, true_text(spoken)),
    "all together": _all,
}


@dataclass(frozen=True)
class Result:
    """Errors of one alignment, mostly as fractions of tokens. A substituted token counts as spoken."""

    num_off: int  # spoken tokens with a time more than 1 s off
    off: float  # the same, as a fraction of the spoken tokens
    unspoken_timed: float  # unspoken tokens that have a time
    spoken_untimed: float  # spoken tokens without a time


def judge(log_probs: NDArray[np.float32], text: Text) -> Result:
    """Align as stage 3 does and compare with the true times."""
    alignment = align(log_probs, text.units, "synthetic", **STAGE_3.costs, distance=FRAMES_PER_SECOND)
    alignment = drop_strays(alignment, STAGE_3.min_island, isolation=5 * FRAMES_PER_SECOND)
    timed, spoken = (alignment.start >= 0) & ~alignment.unsaid, text.frames >= 0
    num_off = int((timed & spoken & (np.abs(alignment.start - text.frames) > FRAMES_PER_SECOND)).sum())
    return Result(
        num_off,
        num_off / spoken.sum(),
        float((timed & ~spoken).sum() / max(1, (~spoken).sum())),
        float((spoken & ~timed).sum() / spoken.sum()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4310.0, help="length of the lecture [%(default)s]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    print("| model | fault | more than 1 s off | unspoken timed | spoken untimed |")
    print("|---|---|---|---|---|")
    for name, noise in (("clean", CLEAN), ("medium", MEDIUM), ("hard", HARD)):
        results: dict[str, list[Result]] = {fault: [] for fault in FAULTS}
        for seed in args.seeds:
            rng = np.random.default_rng(seed)
            spoken = speech(rng, args.seconds)
            log_probs = emissions(rng, spoken, noise)
            for fault, make in FAULTS.items():
                results[fault].append(judge(log_probs, make(rng, spoken)))
            del log_probs
        for fault, of_seeds in results.items():
            off, unspoken, untimed = (
                max(getattr(r, key) for r in of_seeds) for key in ("off", "unspoken_timed", "spoken_untimed")
            )
            print(f"| {name} | {fault} | {off:.2%} | {unspoken:.1%} | {untimed:.1%} |", flush=True)


if __name__ == "__main__":
    main()
