"""Both normalisers on examples, and scores of texts in different scripts."""

from __future__ import annotations

import pytest

from ml2021.scoring.counts import score
from ml2021.scoring.normalizers import normalizers, published_hypothesis, published_reference, unify_script


@pytest.mark.parametrize(
    ("text", "ours", "reference", "hypothesis"),
    [
        ("", "", "", ""),
        ("機 器 學 習", "机 器 学 习", "機 器 學 習", "機 器 學 習"),
        ("机器学习", "机 器 学 习", "机 器 学 习", "機 器 學 習"),
        ("那 Self-Supervised 的", "那 self-supervised 的", "那 selfsupervised 的", "那 self supervised 的"),
        ("98%，η", "98% η", "98% eta", "98% eta"),
        ("the colour's two hundred", "the colour's two hundred", "the colors 200", "the color s 200"),
        ("x′ * Δ", "x * δ", "x prime star delta", "x prime star delta"),
        ("<|zh|>好。", "<|zh|>好", "zh 好", "好"),
    ],
)
def test_by_hand(text: str, ours: str, reference: str, hypothesis: str) -> None:
    if not text.startswith("<"):
        assert unify_script(text) == ours
    assert published_reference(text) == reference
    assert published_hypothesis(text) == hypothesis


def test_other_script_is_no_error() -> None:
    ref, hyp = "這 個 機 器 學 習 很 複 雜 裡 面", "这个机器学习很复杂里面"
    for normalizer in normalizers():
        result = score([("a", normalizer.reference(ref), normalizer.hypothesis(hyp))])
        assert result.total.num_ref == 11
        assert result.total.errors <= (0 if normalizer.name == "ours" else 1)  # s2t writes 裏 where Taiwan writes 裡


def test_ours_is_idempotent_and_signatures_differ() -> None:
    text = "我們用 “Self-supervised” Learning，98%！"
    assert unify_script(unify_script(text)) == unify_script(text)
    ours, published = normalizers()
    assert ours.signature != published.signature and "opencc:1." in ours.signature
