#!/usr/bin/env python3
"""Time and memory of pairing a synthetic lecture of 72 minutes: 20,000 tokens, 14,000 words, a realistic vocabulary.

    . ./path.sh; OMP_NUM_THREADS=1 python benchmarks/bitext_speed.py

Prints a line for RESULTS.md. A short lecture is paired first, not timed, to compile the search.
"""

from __future__ import annotations

import argparse
import random
import resource
import time

import numpy as np

from lhotse_prep.bitext.config import BitextConfig
from lhotse_prep.bitext.pairs import LectureText, make_pairs

FIRST_HAN = 0x4E00
SENTENCE = 14  # longest sentence in tokens, about
TERMS = 0.12  # fraction of English terms, which are the same on both sides


def synthetic_lecture(name: str, num_tokens: int, words_a_token: float, seed: int) -> LectureText:
    """A lecture of two-character words with Zipf frequencies, and of English terms."""
    rng = np.random.default_rng(seed)
    order = random.Random(seed)
    tokens: list[str] = []
    words: list[str] = []
    while len(tokens) < num_tokens:
        ranks = np.minimum(rng.zipf(1.2, size=int(rng.integers(4, SENTENCE))), 3000)
        target: list[str] = []
        for rank in ranks.tolist():
            if rng.random() < TERMS:
                tokens.append(f"term{rank % 300}")
                target.append(f"term{rank % 300}")
            else:
                tokens += [chr(FIRST_HAN + rank % 1500), chr(FIRST_HAN + 1500 + rank)]
                target += [f"w{rank}", *(["the"] if rng.random() < 2 * words_a_token - 1 else [])]
        order.shuffle(target)
        words += [target[0].capitalize(), *target[1:]]
    return LectureText(name, tokens, words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--words-a-token", type=float, default=0.7)
    args = parser.parse_args()
    make_pairs([synthetic_lecture("short", 300, args.words_a_token, 1)], BitextConfig())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lecture = synthetic_lecture("long", args.tokens, args.words_a_token, 2)
    start, cpu = time.perf_counter(), time.process_time()
    pairs = make_pairs([lecture], BitextConfig())["long"]
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(lecture.tokens)} tokens, {len(lecture.words)} words, {len(pairs)} pairs: {wall:.1f} s "
        f"({cpu:.1f} s of CPU), peak {peak / 1024:.0f} MB of the whole process, of which {(peak - before) / 1024:.0f} "
        "MB for this lecture"
    )


if __name__ == "__main__":
    main()
