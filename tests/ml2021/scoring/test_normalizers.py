"""Both normalisers on examples, and scores of texts in different scripts."""

from __future__ import annotations

import random

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
        ("x′ * Δ", "x′ * δ", "x prime star delta", "x prime star delta"),
        ("<|zh|>好。", "<|zh|>好", "zh 好", "好"),
    ],
)
def test_by_hand(text: str, ours: str, reference: str, hypothesis: str) -> None:
    if not text.startswith("<"):
        assert unify_script(text) == ours
    assert published_reference(text) == reference
    assert published_hypothesis(text) == hypothesis


@pytest.mark.parametrize(
    ("text", "hypothesis"),
    [
        ("我們來看好好好好", "我 們 來 看 好"),
        ("我們看哈哈哈", "我 們 看 哈"),
        ("我們看哈哈", "我 們 看 哈 哈"),  # twice only
        ("我看哈哈哈", "我 看 哈 哈 哈"),  # the ending is not shorter than a third of the text by a character
        ("那我要看我們我們我們我們", "那 我 要 看 我 們"),
        ("看我們我們我們", "看 我 們 我 們 我 們"),  # not shorter than a third either
        ("那你看哈哈哈嗯哈哈哈嗯哈哈哈嗯", "那 你 看 哈 哈 哈 嗯"),  # the ending of the ending is left
        ("we run 好好好好", "w e r u n 好"),  # the published scorer puts spaces between all characters
        ("我要看這個我們我們我們", "我 我 們"),  # and loses what is after a first character like that of the ending
        ("好要看這個好好好", "好 要 看 這 個 好"),  # where it stops with an IndexError
        ("哈 哈 哈 哈 哈 哈 哈", "哈 哈"),  # by hand: the ending " 哈" three times, and the first character
        ("<|zh|><|transcribe|>好<|transcribe|>的", "好"),
        ("жы アイ é", "ж ы ア イ e"),  # spaces around what is above code point 1000
        ("台灣", "台 灣"),
        ("台", "臺"),  # of both scripts, so Simplified
        ("徵机", "徵 機"),  # CC-CEDICT has 徵 in Simplified spellings, which OpenCC would convert
        ("姪机", "姪 机"),  # and has 姪 in Traditional ones only, which OpenCC would not
    ],
)
def test_published_hypotheses_by_hand(text: str, hypothesis: str) -> None:
    assert published_hypothesis(text) == hypothesis


def test_published_references_keep_repeated_endings_and_words_of_other_scripts() -> None:
    assert published_reference("我們看哈哈哈哈，жы 机") == "我 們 看 哈 哈 哈 哈 жы 机"


@pytest.mark.parametrize("seed", range(30))
def test_collapsed_endings_come_to_an_end(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choices("ab 好", k=20)) + "".join(rng.choices("ab 好", k=rng.randint(1, 3))) * rng.randint(1, 9)
    assert len(published_hypothesis(text).replace(" ", "")) <= len(text)


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
    assert "|endings:3x(hyp)|script:s2t(simplified-hyp,hanzidentifier)|" in published.signature
    assert "|spaced:over-1000(hyp),han(ref)|" in published.signature


@pytest.mark.parametrize(
    ("ref", "hyp"),
    [
        ("我們用卷積來做然後呢就是喬布萊恩", "我們用（卷積）來做⋯⋯然後呢—就是喬‧布萊恩"),
        ("我們用 CNN 跟 bert model", "我們用（CNN）跟 [BERT model] ⸺"),
        ("他或她", "他 / 或 ─ 她"),
        ("convolution 跟 transformer", "con\u00advolution 跟 \u2066transformer\u2069"),
    ],
)
def test_marks_nobody_says_are_no_errors(ref: str, hyp: str) -> None:
    ours = normalizers()[0]
    for a, b in ((ref, hyp), (hyp, ref)):
        result = score([("a", ours.reference(a), ours.hypothesis(b))])
        assert result.total.errors == 0 and result.total.num_ref > 0


@pytest.mark.parametrize(("ref", "hyp"), [("x != y", "x = y"), ("機率 .5", "機率 5"), ("x²", "x2")])
def test_other_formulas_are_errors(ref: str, hyp: str) -> None:
    ours = normalizers()[0]
    assert score([("a", ours.reference(ref), ours.hypothesis(hyp))]).total.errors == 1
