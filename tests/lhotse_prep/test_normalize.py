"""Normalised text: idempotent, nothing spoken lost, spaces of Chinese put back."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.normalize import is_han, normalize_transcript, normalize_translation, remove_han_spaces


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("那我們講 Self-Supervised learning。", "那 我 們 講 self-supervised learning"),
        ("３×３ 的 ｆｉｌｔｅｒ,98％", "3×3 的 filter,98%"),
        ("l(x) 跟 -e(y, ŷ) cheese=> δx1", "l(x) 跟 -e(y ŷ) cheese=> δx1"),
        ("  它 的 “loss” 是 0.64 . ", "它 的 loss 是 0.64"),
        ("t-sne、one-shot", "t-sne、one-shot"),
        ("", ""),
    ],
)
def test_transcript(text: str, wanted: str) -> None:
    assert normalize_transcript(text) == wanted


@pytest.mark.parametrize("seed", range(200))
def test_properties_on_random_text(seed: int) -> None:
    rng = random.Random(seed)
    alphabet = "我們的機器學習ＡＢab12,。.-×％“”' \u3000\u200b()=>δŷ々〇"
    text = "".join(rng.choice(alphabet) for _ in range(rng.randint(0, 40)))
    once = normalize_transcript(text)
    assert normalize_transcript(once) == once
    assert normalize_transcript(remove_han_spaces(once)) == once
    assert sum(map(is_han, once)) == sum(map(is_han, text))
    assert all(len(token) == 1 for token in once.split() if any(map(is_han, token)))
    translation = normalize_translation(text)
    assert normalize_translation(translation) == translation


def test_translation_keeps_case_and_marks_but_unifies_quotes() -> None:
    assert normalize_translation(" It’s  “Deep” `x`\n  Learning. ") == "It's \"Deep\" 'x' Learning."
