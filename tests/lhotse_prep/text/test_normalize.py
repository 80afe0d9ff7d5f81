"""Normalisation is idempotent, loses nothing that is spoken, and restores the spaces between Han characters."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable

import pytest

from lhotse_prep.text.normalize import (
    is_han,
    normalize_for_scoring,
    normalize_transcript,
    normalize_translation,
    remove_han_spaces,
)

FUNCTIONS = [normalize_transcript, normalize_for_scoring, normalize_translation]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("那我們講 Self-Supervised learning。", "那 我 們 講 self-supervised learning"),
        ("３×３ 的 ｆｉｌｔｅｒ,98％", "3×3 的 filter,98%"),
        ("l(x) 跟 -e(y, ŷ) cheese=> δx1", "l(x) 跟 -e(y ŷ) cheese=> δx1"),
        ("d(x0,x) => η ε σ Δ -1 0.64 98%", "d(x0,x) => η ε σ δ -1 0.64 98%"),
        ("  它 的 “loss” 是 0.64 . ", "它 的 loss 是 0.64"),
        ("t-sne、one-shot", "t-sne one-shot"),
        ("「bert」《gpt》l-infinity…", "bert gpt l-infinity"),
        ("it’s `x` and ´y´", "it's x and y"),
        ("", ""),
    ],
)
def test_transcript(text: str, expected: str) -> None:
    assert normalize_transcript(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("３×３ 的 ｆｉｌｔｅｒ,98％", "3×3 的 filter 98%"),
        ("yes/no 98%,bert", "yes no 98% bert"),
        ("l(x,y) 3,000 10:30 1/2 t–sne", "l(x,y) 3,000 10:30 1/2 t-sne"),
        ("self-supervised =>", "self-supervised =>"),
    ],
)
def test_scoring_also_splits_words_joined_by_marks(text: str, expected: str) -> None:
    assert normalize_for_scoring(text) == expected


def spoken(text: str) -> list[str]:
    """Letters, digits and mathematical signs, lower-cased, in NFKC."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return [c for c in folded if unicodedata.category(c) in ("Lu", "Ll", "Lo", "Lt", "Nd", "Nl", "Sm") and c != "~"]


@pytest.mark.parametrize("seed", range(200))
def test_properties_on_random_text(seed: int) -> None:
    rng = random.Random(seed)
    alphabet = "我們的機器學習ＡＢab12,。.-×％“”'`´ \u3000\u200b()=>δŷ々〇/:、"
    text = "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 40)))
    for function in (normalize_transcript, normalize_for_scoring):
        once = function(text)
        assert function(once) == once
        assert function(remove_han_spaces(once)) == once
        assert spoken(once) == spoken(text)
        assert all(len(token) == 1 for token in once.split() if any(map(is_han, token)))
    assert normalize_for_scoring(normalize_transcript(text)) == normalize_for_scoring(text)
    translation = normalize_translation(text)
    assert normalize_translation(translation) == translation and spoken(translation.lower()) == spoken(text)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_idempotent_for_every_character(function: Callable[[str], str]) -> None:
    """Each character of the first two planes between letters, Han characters and spaces."""
    chars = [chr(c) for c in range(1, 0x20000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    for c in chars:
        for text in (f"a{c}b", f"我{c} 們"):
            once = function(text)
            assert function(once) == once, (hex(ord(c)), once)


def test_a_translation_keeps_case_and_marks_but_gets_straight_quotes() -> None:
    assert normalize_translation(" It’s  “Deep” `x`\n  Learning. ") == "It's \"Deep\" 'x' Learning."
