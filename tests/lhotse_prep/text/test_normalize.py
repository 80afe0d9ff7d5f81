"""Normalisation is idempotent, loses nothing that is spoken, and restores the spaces between Han characters."""

from __future__ import annotations

import random
import sys
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我們用（卷積）來做⋯⋯然後呢—就是喬‧布萊恩", "我 們 用 卷 積 來 做 然 後 呢 就 是 喬 布 萊 恩"),
        ("我⸺你─他/她 [ 我 ] （ ） 我 - 你", "我 你 他 她 我 我 你"),
        ("用（CNN）來 (bert model) word—word ok...", "用 cnn 來 bert model word word ok"),
        ("con\u00advolution \u2066transformer\u2069 a\u2062b", "convolution transformer ab"),
        ("c\u0085d e\u0092f g\ufe0fh\ufeff", "c d ef gh"),
        ("x\u200b1 我\u200d們 \U000e0101好", "x1 我 們 好"),
        ("x != y, x!=y := 3", "x != y x!=y := 3"),
        (".5 -.5 5. 。.5", ".5 -.5 5 .5"),
        ("x² x⁻¹ (x)² eⁿ m₂ 10₂", "x^2 x^−1 (x)^2 e^n m2 10_2"),
        ("3½ 5① １２ １㏠", "3 1⁄2 5 1 12 1 1 日"),
        ("x - y = 3 * 2, a* c# 25°", "x - y = 3 * 2 a* c# 25°"),
        ("2×(a+b) (a+b)^2 x[1] (a", "2×(a+b) (a+b)^2 x[1] a"),
        ("--> <- -- -5 —5 R&D 5€ 1\ufe0f\u20e3", "-> <- -5 5 r&d 5€ 1"),
        ("3×3 => % 98% η ε σ ŷ δx1 l(x) d(x0,x) -1 0.64", "3×3 => % 98% η ε σ ŷ δx1 l(x) d(x0,x) -1 0.64"),
        ("cheese=> self-supervised t-sne 3,000 10:30 it's", "cheese=> self-supervised t-sne 3,000 10:30 it's"),
    ],
)
def test_marks_and_invisible_characters(text: str, expected: str) -> None:
    assert normalize_transcript(text) == expected


@pytest.mark.parametrize(("a", "b"), [("x != 1", "x = 1"), (".5", "5"), ("x²", "x2"), ("3½", "31⁄2"), ("5①", "51")])
def test_what_differs_in_speech_is_not_scored_as_the_same(a: str, b: str) -> None:
    assert normalize_for_scoring(a) != normalize_for_scoring(b)


def test_a_minus_sign_alone_is_no_dash() -> None:
    assert normalize_for_scoring("x − y") == normalize_for_scoring("x - y") == "x − y"
    assert normalize_for_scoring("−1 x−1 我−們 我-們 我 – 們") == "-1 x-1 我 − 們 我 們 我 們"


def promised(text: str) -> list[str]:
    """What no function may lose: letters, digits and mathematical signs except ellipses and ~; all minus signs as -."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept = (c for c in folded if unicodedata.category(c) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Sm"))
    return [c for c in kept if c != "~" and "ELLIPSIS" not in unicodedata.name(c, "")]


ENDS = "q7q"  # a word before, between and after the texts of a batch
# alone, between Han, between Latin letters, at both edges of each, between words, next to digits, doubled
FORMS = ("{}", "我{}們", "a{}b", "{}a", "b{}", "{}我", "們{}", "a {} b", "我 {} 們", "{}1", "2{}", "3{}4", "{0}{0}")


def code_points() -> list[str]:
    """All of Unicode, but of the letters of Han and Hangul and of what is unassigned or private, every 50th."""
    chars = []
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        many = category in ("Cn", "Co", "Cs") or category == "Lo" and code >= 0x3400
        if not many or code % 50 == 0:
            chars.append(chr(code))
    return chars


def normalized_by_one(function: Callable[[str], str], texts: list[str]) -> list[str]:
    """The result of each text; many in one call, without texts whose brackets could pair with those of others."""
    alone = [any(unicodedata.normalize("NFKC", c) != c or c in "()[]{}" for c in t) for t in texts]
    batch = [t for t, single in zip(texts, alone) if not single]
    parts = function(f" {ENDS} ".join(["", *batch, ""])).split(ENDS)[1:-1]
    assert len(parts) == len(batch)
    results = iter(part.strip() for part in parts)
    return [function(t) if single else next(results) for t, single in zip(texts, alone)]


@pytest.mark.parametrize("form", FORMS)
def test_every_code_point_keeps_the_promise_and_leaves_no_mark(form: str) -> None:
    """In each surrounding: nothing promised is lost, no mark stays between Han, no invisible character anywhere."""
    chars = code_points()
    for first in range(0, len(chars), 1000):
        texts = [form.format(c) for c in chars[first : first + 1000]]
        for text, result in zip(texts, normalized_by_one(normalize_transcript, texts), strict=True):
            assert promised(result) == promised(text), (text, result)
            marks = {unicodedata.category(c) for c in result if c not in "^°"}
            assert not marks & {"Cc", "Cf", "Cs", "Me", "So", "Sk"}, (text, result)
            if form == "我 {} 們" and not promised(text[2:-2]):
                rest = result.split()[1:-1]
                assert all(c in "%&‰‱" or unicodedata.category(c) in ("Sc", "Co", "Cn") for c in "".join(rest)), text


POOL = "我們的機a12b,。.-×％“”'`´ \u3000\u200b()=>δŷ々〇/:、!~−–—^_*#[]{}<²½₂⋯‧·°\u0301\u00ad%&$@|+⑤İ"


@pytest.mark.parametrize("seed", range(40))
def test_marks_in_random_order(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(10):
        text = "".join(rng.choices(POOL, k=rng.randint(1, 14)))
        for function in (normalize_transcript, normalize_for_scoring):
            once = function(text)
            assert function(once) == once == function(remove_han_spaces(once)), text
            lost = [c for c in promised(text) if c != "−"]
            assert [c for c in promised(once) if c != "−"] == lost, text
        assert promised(normalize_transcript(text)) == promised(text)
        assert normalize_for_scoring(normalize_transcript(text)) == normalize_for_scoring(text)
        translation = normalize_translation(text)
        assert normalize_translation(translation) == translation
