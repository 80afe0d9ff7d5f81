"""Words of Whisper's pieces: the same words as normalising the whole text, with times inside those of the pieces."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from lhotse_prep.text.normalize import normalize_transcript
from ml2021.asr.whisper.pieces import TimedPiece, words_of_pieces

PARTS = [
    "這次",
    "講完",
    "。",
    " Super",
    "vised",
    "-",
    " learn",
    "ing",
    "，",
    "對",
    "嗎?",
    " 0",
    ".",
    "1",
    "個",
    "B",
    "ERT",
    " it's",
    "!",
]


def test_pieces_become_words() -> None:
    pieces = [
        TimedPiece(" 這次", 1.0, 1.4, 0.9),
        TimedPiece(" Self", 1.5, 1.7, 0.4),
        TimedPiece("-supervised,", 1.7, 2.0, 0.1),
        TimedPiece("對", 2.5, 2.6, 1.0),
        TimedPiece("嗎?", 2.6, 2.8, 0.0),
    ]
    words = words_of_pieces(pieces)
    assert [w.text for w in words] == ["這", "次", "self-supervised", "對", "嗎"]
    assert [(round(w.start, 6), round(w.end, 6)) for w in words] == [
        (1.0, 1.2), (1.2, 1.4), (1.5, 2.0), (2.5, 2.6), (2.6, 2.8),
    ]  # fmt: skip
    assert [round(w.score, 3) for w in words[:4]] == [
        0.9,
        0.9,
        pytest.approx((0.4**4 * 0.1**10) ** (1 / 14), abs=1e-3),
        1.0,
    ]
    assert 0 < words[4].score < 0.01


def test_marks_take_no_time_of_a_word() -> None:
    (word,) = words_of_pieces([TimedPiece(" learning", 1.0, 2.0, 0.5), TimedPiece("...", 2.0, 9.0, 0.5)])
    assert (word.text, word.start, word.end) == ("learning", 1.0, 2.0)


def test_han_in_a_language_with_spaces_is_split() -> None:
    words = words_of_pieces([TimedPiece(" 這次learning,yes", 0.0, 13.0, 0.5)])
    assert [w.text for w in words][:2] == ["這", "次"]
    assert (words[0].start, words[0].end, words[1].end) == (0.0, 1.0, 2.0)
    assert words[-1].end == 13.0


@pytest.mark.parametrize("seed", range(50))
def test_however_a_text_is_cut_its_words_are_those_of_the_whole(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choices(PARTS, k=30))
    cuts = sorted({0, len(text), *rng.choices(range(len(text)), k=20)})
    edges = sorted(rng.uniform(0, 20) for _ in cuts)
    pieces = [
        TimedPiece(text[a:b], start, end, rng.random()) for (a, b), (start, end) in zip(pairwise(cuts), pairwise(edges))
    ]
    words = words_of_pieces(pieces)
    assert [w.text for w in words] == normalize_transcript(text).split()
    assert all(edges[0] <= w.start <= w.end <= edges[-1] and 0 <= w.score <= 1 for w in words)
    assert all(a.start <= b.start and a.end <= b.end for a, b in pairwise(words))


def test_nothing_gives_nothing() -> None:
    assert words_of_pieces([]) == words_of_pieces([TimedPiece(" ...", 0.0, 1.0, 0.5)]) == []
