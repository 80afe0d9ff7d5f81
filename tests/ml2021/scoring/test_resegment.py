"""Re-segmentation compared with all possible cuts, and its invariants."""

from __future__ import annotations

import itertools
import random
import time

import pytest
from rapidfuzz.distance import Levenshtein

from ml2021.scoring.resegment import resegment


def total_distance(segments: list[list[str]], references: list[list[str]]) -> int:
    return sum(Levenshtein.distance(a, b) for a, b in zip(segments, references, strict=True))


@pytest.mark.parametrize("seed", range(60))
def test_no_way_to_cut_is_better(seed: int) -> None:
    rng = random.Random(seed)
    references = [rng.choices("abcd", k=rng.randint(0, 4)) for _ in range(rng.randint(1, 4))]
    hypothesis = [w for r in references for w in r if rng.random() < 0.8 for w in rng.choices([w, "x", "a"], [8, 1, 1])]
    segments = resegment(hypothesis, references)
    assert len(segments) == len(references) and [w for s in segments for w in s] == hypothesis
    inner = itertools.combinations_with_replacement(range(len(hypothesis) + 1), len(references) - 1)
    every = ([0, *cuts, len(hypothesis)] for cuts in inner)
    best = min(total_distance([hypothesis[a:b] for a, b in zip(c, c[1:])], references) for c in every)
    assert total_distance(segments, references) == best


@pytest.mark.parametrize(
    ("hypothesis", "references", "segments"),
    [
        ("a b c d", ["a b", "c d"], ["a b", "c d"]),
        ("a b c d", ["a b c d"], ["a b c d"]),
        ("", ["a", "b"], ["", ""]),
        ("a x c d", ["a b", "c d"], ["a x", "c d"]),
        ("a b x c d", ["a b", "c d"], ["a b", "x c d"]),  # a token inserted at the cut goes after it
        ("c d", ["a b", "c d"], ["", "c d"]),
        ("a b", ["a b", "c d"], ["a b", ""]),
        ("x y z", [""], ["x y z"]),
        ("a b", ["", "a b", ""], ["", "a b", ""]),
    ],
)
def test_by_hand(hypothesis: str, references: list[str], segments: list[str]) -> None:
    result = resegment(hypothesis.split(), [r.split() for r in references])
    assert [" ".join(s) for s in result] == segments


def test_long_lecture_is_fast() -> None:
    rng = random.Random(0)
    words = [f"w{rng.randint(0, 2000)}" for _ in range(20_000)]
    references = [words[i : i + 20] for i in range(0, len(words), 20)]
    hypothesis = [w for w in words if rng.random() < 0.95]
    started = time.time()
    segments = resegment(hypothesis, references)
    assert time.time() - started < 2
    assert total_distance(segments, references) == Levenshtein.distance(words, hypothesis)
