"""Alignments of long texts have the errors of kaldialign's, but not its memory."""

from __future__ import annotations

import random
from collections import Counter

import kaldialign
import pytest
from rapidfuzz.distance import Levenshtein

from ml2021.scoring import align as align_module
from ml2021.scoring.align import MOST_CELLS, Alignment, align
from ml2021.scoring.counts import at_switches, count_errors

whole = kaldialign.align


def random_text(rng: random.Random, num_tokens: int, num_kinds: int) -> list[str]:
    """Frequent Chinese characters and English words, as far apart in frequency as in a lecture."""
    kinds = [chr(0x4E00 + i) if i % 4 else f"word{i}" for i in range(num_kinds)]
    return [kinds[int(num_kinds * rng.random() ** 2)] for _ in range(num_tokens)]


def with_errors(rng: random.Random, ref: list[str], rate: float) -> list[str]:
    hyp = []
    for token in ref:
        kind = rng.random() / rate if rate else 2.0
        if kind < 0.5:
            hyp.append(rng.choice(ref))
        elif kind < 0.75:
            hyp += [token, rng.choice(ref)]
        elif kind >= 1:
            hyp.append(token)
    return hyp


def kinds_of(alignment: Alignment) -> Counter[str]:
    return Counter("=" if a == b else "+" if not a else "-" if not b else "x" for a, b in alignment)


@pytest.mark.parametrize("num_kinds", [3, 40, 1000])
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 1.0])
def test_pieces_have_the_errors_of_the_whole(num_kinds: int, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(num_kinds)
    ref = random_text(rng, 2500, num_kinds)
    hyp = with_errors(rng, ref, rate)
    if rate == 0.3:
        hyp = hyp[:700] + hyp[1500:]  # a part that was not recognised
    expected = kaldialign.align(ref, hyp, "")
    sizes = []

    def recording_align(a: list[str], b: list[str], epsilon: str) -> Alignment:
        sizes.append(len(a) * len(b))
        return whole(a, b, epsilon)

    monkeypatch.setattr(align_module.kaldialign, "align", recording_align)
    monkeypatch.setattr(align_module, "MOST_CELLS", 10_000)
    result = align(ref, hyp)
    assert [a for a, _ in result if a] == ref and [b for _, b in result if b] == hyp
    assert sum(a != b for a, b in result) == Levenshtein.distance(ref, hyp)
    if num_kinds > 3 or rate < 0.3:  # with three kinds of tokens, half of them wrong, most paths are ties
        assert kinds_of(result) == kinds_of(expected)
    assert len(sizes) > 2 and max(sizes) < 1_500_000
    ours, peer = count_errors({"a": result}), count_errors({"a": expected})
    assert ours.total.errors == peer.total.errors and ours.zh.num_ref == peer.zh.num_ref
    assert ours.zh.errors + ours.en.errors == ours.total.errors
    assert len(at_switches(result)) == len(result)


@pytest.mark.parametrize(
    ("num_ref", "num_hyp"), [(3000, 0), (0, 3000), (3000, 1), (2500, 2500)], ids=["deleted", "inserted", "one", "other"]
)
def test_texts_with_nothing_in_common(num_ref: int, num_hyp: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align_module, "MOST_CELLS", -1)
    ref, hyp = [f"a{i}" for i in range(num_ref)], [f"b{i}" for i in range(num_hyp)]
    result = align(ref, hyp)
    assert [a for a, _ in result if a] == ref and [b for _, b in result if b] == hyp
    assert len(result) == max(num_ref, num_hyp)  # substitutions as far as possible


def test_short_texts_are_aligned_by_kaldialign_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(align_module.Levenshtein, "opcodes", None)
    rng = random.Random(0)
    ref = random_text(rng, 1900, 500)
    hyp = with_errors(rng, ref, 0.2)
    assert len(ref) * len(hyp) <= MOST_CELLS
    assert align(ref, hyp) == kaldialign.align(ref, hyp, "")
    assert align([], []) == []
