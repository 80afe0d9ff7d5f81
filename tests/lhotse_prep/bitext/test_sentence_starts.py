"""Possible sentence starts, from capitals and stops."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lhotse_prep.bitext.sentence_starts import first_segment_odds, segment_starts, shape, starter_odds


def text(seed: int, stop_probability: float) -> list[str]:
    """200 sentences that begin with So, The or I, with BERT, models or Adam and another I inside."""
    rng = random.Random(seed)
    words = []
    for _ in range(200):
        words += [
            rng.choice(("So", "So", "The", "I")),
            "see",
            rng.choice(("BERT", "models", "Adam")),
            "when",
            "I",
            "go",
        ]
        if rng.random() < stop_probability:
            words[-1] += "."
    return words


@pytest.mark.parametrize("stop_probability", [0.3, 0.6, 0.9])
def test_sentence_openers_are_distinguished_from_names(stop_probability):
    odds = starter_odds([text(0, stop_probability)])
    assert min(odds["So"], odds["The"]) > 1
    assert max(odds["BERT"], odds["Adam"], odds["I"]) < -0.5


def test_without_stops_only_the_shape_counts():
    odds = starter_odds([text(0, 0.0)])
    assert odds["So"] == odds["The"] == odds["Adam"] > 1
    assert odds["BERT"] == odds["I"] < -2


def test_a_stop_outweighs_any_word():
    words = ["So", "we", "go.", "then", "BERT", "is", "seen", "The", "end"]
    starts = [*segment_starts(words), len(words)]
    odds = first_segment_odds(words, np.array(starts), starter_odds([text(0, 0.6)]))
    after_stop = starts.index(3)
    assert odds[after_stop] == max(odds) and odds[starts.index(4)] < 0 < odds[starts.index(7)]
    assert odds[0] == odds[-1] == 0


def test_segments_begin_at_capitals_and_after_stops():
    words = ["So", "we", "use", "BERT", "today.", "and", "then", '"We', "see", "I", "think"]
    assert segment_starts(words) == [0, 3, 5, 7, 9]
    assert segment_starts(["word"] * 130) == [0, 60, 120]


@pytest.mark.parametrize(
    "word, expected",
    [("I'm", "I"), ("BERT", "A"), ("GPT-3,", "A"), ("So", "C"), ("bert", "a"), ("3.5", "0"), ("---", "0")],
)
def test_shape(word, expected):
    assert shape(word) == expected
