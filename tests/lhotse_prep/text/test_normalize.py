"""Normalisation is idempotent, loses nothing that is spoken, and restores the spaces between Han characters."""

from __future__ import annotations

import random
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from functools import cache

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
        ("x′ f′(x) don′t f″ 我′", "x′ f′(x) don't f′′ 我"),
        ("‖x‖ ‖w‖^2 我‖你", "‖x‖ ‖w‖^2 我 你"),
        ("25°C 25 °C 25 ℃ °", "25°c 25 °c 25 °c"),
        ("BERT™ x℠ ®", "bert x"),
        ("BERT，GPT：x；y 3，000 10：30 filter，98%", "bert gpt x y 3,000 10:30 filter 98%"),
        ("喬⋅布 喬∙布 x⋅y", "喬 布 喬 布 x⋅y"),
        ("\ufff9漢\ufffaかん\ufffb字", "漢 字"),
        ("**bold** *it* A* C# c++", "bold it a* c# c++"),
        ("カ゛ ﾊﾟ a\u3164b a\ufff8b c\uffffd", "ガ パ ab ab c d"),
        ("٥٪ ٣٫١٤ צה״ל‎", '٥% ٣.١٤ צה"ל'),
        ("user@mail.com, www.a.com/b。 2021/3/5 9:30am", "user@mail.com www.a.com/b 2021/3/5 9:30am"),
        ("😀 👨\u200d👩\u200d👧 🇹🇼 我👍🏽", "我"),
        ("(a] b [c) f(x, y) 我 f(x", "a b c f(x y) 我 f x"),
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


@cache
def is_unsaid(char: str) -> bool:
    """True for letters without width, and for ™ and its kin."""
    is_raised = unicodedata.category(char) == "So" and unicodedata.decomposition(char).startswith("<super>")
    return is_raised or "FILLER" in unicodedata.name(char, "")


def promised(text: str) -> list[str]:
    """What no function may lose: letters, digits and mathematical signs, except ellipses, ~ and dots of Han names."""
    text = re.sub("(?<=[我們])[⋅∙](?=[我們])", "", "".join(c for c in text if not is_unsaid(c)))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    kept = (c for c in folded if unicodedata.category(c) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "Sm"))
    return [c for c in kept if c != "~" and "ELLIPSIS" not in unicodedata.name(c, "")]


ENDS = "q7q"  # a word before, between and after the texts of a batch
# alone, between Han, between Latin letters, at both edges of each, between words, next to digits, doubled
FORMS = ("{}", "我{}們", "a{}b", "{}a", "b{}", "{}我", "們{}", "a {} b", "我 {} 們", "{}1", "2{}", "3{}4", "{0}{0}")


@cache
def code_points() -> list[str]:
    """All of Unicode, but of the letters of Han and Hangul every 50th, and of what is unassigned or private, 500th."""
    chars = []
    for code in range(sys.maxunicode + 1):
        category = unicodedata.category(chr(code))
        step = 500 if category in ("Cn", "Co", "Cs") else 50 if category == "Lo" and code >= 0x3400 else 1
        if code % step == 0:
            chars.append(chr(code))
    return chars


def normalized_by_one(function: Callable[[str], str], texts: list[str]) -> list[str]:
    """The result of each text; many in one call, without texts whose brackets could pair with those of others."""
    alone = [any(unicodedata.normalize("NFKC", c) != c or c in "()[]{}\ufffa\ufffb" for c in t) for t in texts]
    batch = [t for t, single in zip(texts, alone) if not single]
    parts = function(f" {ENDS} ".join(["", *batch, ""])).split(ENDS)[1:-1]
    assert len(parts) == len(batch)
    results = iter(part.strip() for part in parts)
    return [function(t) if single else next(results) for t, single in zip(texts, alone)]


@pytest.mark.parametrize("form", FORMS)
def test_every_code_point_keeps_the_promise_and_leaves_no_mark(form: str) -> None:
    """In each surrounding (letters: a quarter of them), nothing promised is lost, and no unsaid mark stays."""
    chars = [c for i, c in enumerate(code_points(), FORMS.index(form)) if i % 4 == 0 or not c.isalpha()]
    for first in range(0, len(chars), 1000):
        texts = [form.format(c) for c in chars[first : first + 1000]]
        for text, result in zip(texts, normalized_by_one(normalize_transcript, texts), strict=True):
            if result != text:
                assert promised(result) == promised(text), (text, result)
            marks = set(map(unicodedata.category, set(result) - {"^", "°"}))
            assert not marks & {"Cc", "Cf", "Cs", "Me", "So", "Sk"}, (text, result)
            if form == "我 {} 們" and not promised(text[2:-2]):
                rest = result.split()[1:-1]
                assert all(c in "%&‰‱" or unicodedata.category(c) in ("Sc", "Co", "Cn") for c in "".join(rest)), text


def test_idempotent_for_every_character() -> None:
    """Each character by itself, between letters, Han characters and spaces."""
    for c in code_points():
        for text in (f"a{c}b", f"我{c} 們"):
            for function in FUNCTIONS:
                once = function(text)
                if once != text:
                    assert function(once) == once, (hex(ord(c)), once)


@pytest.mark.parametrize("function", [normalize_transcript, normalize_for_scoring], ids=lambda f: f.__name__)
def test_every_letter_stays(function: Callable[[str], str]) -> None:
    """Those of Han, Hangul and other large scripts, which code_points() leaves out."""
    for first in range(0x3000, 0x110000, 0x1000):
        letters = [c for c in map(chr, range(first, first + 0x1000)) if unicodedata.category(c) == "Lo"]
        text = "".join(c for c in letters if not is_unsaid(c) and len(unicodedata.normalize("NFKC", c)) == 1)
        assert function(text).replace(" ", "") == unicodedata.normalize("NFKC", text), hex(first)


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


@pytest.mark.parametrize("seed", range(60))
def test_a_text_cut_at_a_space_gives_the_words_of_its_parts(seed: int) -> None:
    rng = random.Random(seed)
    pool = [c for c in POOL if c not in "()[]{} "] + ["mask ", " ", "，", "9"]
    for _ in range(10):
        parts = ["".join(rng.choices(pool, k=rng.randint(1, 12))) for _ in range(3)]
        for function in (normalize_transcript, normalize_for_scoring):
            words = [w for part in parts for w in function(part).split()]
            whole = function(" ".join(parts)).split()
            assert [w for w in whole if w not in "-−*/^"] == [w for w in words if w not in "-−*/^"], parts


@pytest.mark.parametrize("function", [normalize_transcript, normalize_for_scoring])
def test_a_bracket_changes_nothing_far_from_it(function: Callable[[str], str]) -> None:
    between = "我 們 f(x, y) 講 l(x (a) bert(b] x[1 y] 2×(a+b) g(z ok " + "很 長 的 word " * 9
    for before, after in (("f(x", "y)"), ("(x", "y)"), ("[x", "y]"), ("f(x", ""), ("", "y)"), ("(((", ")))")):
        parts = [function(part) for part in (f"{before} 我", between, f"們 {after}")]
        assert function(f"{before} 我 {between} 們 {after}") == " ".join(parts)


def test_long_and_hostile_texts_take_no_time() -> None:
    started = time.process_time()
    for text in ("(" * 20_000, "f(x)" * 10_000, "a" + "\u0301" * 10_000, "!" + "\u0301" * 20_000, "'(a" * 20_000):
        normalize_for_scoring(text)
    assert time.process_time() - started < 5
