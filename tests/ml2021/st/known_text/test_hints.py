"""Times of a whole subtitle file that are shifted or stretched are moved to the speech; right ones stay."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.alignment.hypotheses import Hypothesis
from ml2021.st.known_text.hints import moved_to_speech
from ml2021.st.known_text.read import TextLine
from ml2021.st.known_text.times import hypothesis_of_lines

DURATION = 1200.0


def speech(seed: int) -> np.ndarray:
    """(R, 2) stretches of speech, in seconds."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(np.stack([rng.exponential(0.6, 400) + 0.3, rng.uniform(0.5, 4.0, 400)], axis=1).ravel())
    regions = edges.reshape(-1, 2)
    return np.asarray(regions[regions[:, 1] < DURATION - 20])


def hints(regions: np.ndarray) -> Hypothesis:
    """A cue over each stretch of speech, four words a second."""
    return hypothesis_of_lines([TextLine("字" * max(1, int(4 * (e - b))), b, e) for b, e in regions])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.0, 6.0), (1.0, -3.0), (25 / 23.976, 0.0)])
def test_hints_are_moved_to_the_speech(seed: int, scale: float, shift: float) -> None:
    regions = speech(seed)
    right = hints(regions)
    start, end = (np.maximum(0.0, x / scale + shift) for x in (right.start, right.end))
    moved = moved_to_speech("x", Hypothesis(right.words, start, end), regions, DURATION)
    assert np.median(np.abs(moved.start - right.start)) < 0.3
    assert moved_to_speech("x", right, regions, DURATION) is right


def test_words_of_a_cue_share_its_time() -> None:
    words = hypothesis_of_lines([TextLine("我們 BERT。", 1.0, 4.0), TextLine("no time"), TextLine("好", 5.0, 5.5)])
    assert words.words == ["我", "們", "bert", "好"]
    assert words.start == pytest.approx([1.0, 2.0, 3.0, 5.0]) and words.end == pytest.approx([2.0, 3.0, 4.0, 5.5])
    assert hypothesis_of_lines([TextLine("no time")]).words == []
