"""Each sentence's translation is in the window that holds the sentence, in order, once; or left out and counted."""

from __future__ import annotations

import random

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from lhotse_prep.bitext.window_translations import with_translations


def windows(*token_counts: list[int]) -> CutSet:
    """A window for each list, a supervision for each of its numbers of tokens."""
    recording = Recording("l", [], 16_000, 16_000_000, 1000.0)
    cuts, token = [], 0
    for number, counts in enumerate(token_counts):
        supervisions = []
        for i, count in enumerate(counts):
            custom = {"first_token": token, "confidence": 0.9}
            supervisions.append(SupervisionSegment(f"{number}-{i}", "l", i, 1.0, text="我 " * count, custom=custom))
            token += count
        cuts.append(MonoCut(f"l-{number}", number * 10, 10, 0, recording=recording, supervisions=supervisions))
    return CutSet.from_cuts(cuts)


def pair(first: int, count: int, target: str, lecture: str = "l") -> dict:
    return {"lecture": lecture, "first_token": first, "num_tokens": count, "target": target}


def translations(cuts: CutSet) -> list[list[str | None]]:
    return [[s.custom.get("translated_text", {}).get("eng") for s in c.supervisions] for c in cuts]


def test_sentences_go_where_they_begin() -> None:
    cuts = windows([3, 3], [4])
    found, left_out = with_translations(cuts, [pair(0, 2, "one"), pair(2, 4, "two"), pair(6, 4, "three")])
    assert translations(found) == [["one two", None], ["three"]] and left_out == 0
    assert all(s.custom["confidence"] == 0.9 for c in found for s in c.supervisions)


def test_sentence_over_two_windows_is_left_out_and_other_lectures_do_not_count() -> None:
    found, left_out = with_translations(
        windows([3], [3]), [pair(2, 2, "both"), pair(4, 2, "end"), pair(0, 1, "x", "m")]
    )
    assert translations(found) == [[None], ["end"]] and left_out == 1


def test_sides_without_a_counterpart_say_nothing() -> None:
    found, left_out = with_translations(windows([3]), [pair(0, 0, "only english"), pair(0, 3, "")])
    assert translations(found) == [[None]] and left_out == 0


@pytest.mark.parametrize("seed", range(30))
def test_every_pair_is_in_one_window_or_left_out(seed: int) -> None:
    rng = random.Random(seed)
    cuts = windows(*[[rng.randint(1, 9) for _ in range(rng.randint(1, 4))] for _ in range(12)])
    total = sum(len(s.text.split()) for c in cuts for s in c.supervisions)
    pairs, at = [], 0
    while at < total:
        count = min(rng.randint(1, 8), total - at)
        pairs.append(pair(at, count, f"t{at}"))
        at += count
    found, left_out = with_translations(cuts, pairs)
    placed = [t for c in translations(found) for text in c if text for t in text.split()]
    assert placed == [p["target"] for p in pairs if p["target"] in placed] and len(placed) + left_out == len(pairs)
