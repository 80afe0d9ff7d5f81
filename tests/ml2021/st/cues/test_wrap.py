"""Lines are broken where phrases end, never inside a word, and are as few as they can be."""

from __future__ import annotations

import math
import random
from itertools import combinations, pairwise

import pytest

from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.phrases import break_costs
from ml2021.st.cues.widths import split_units, width
from ml2021.st.cues.words_zh import common_words, segment, usual_lexicon
from ml2021.st.cues.wrap import wrap

CONFIG = SubtitleConfig()
ZH = """
    我們 你們 因為 所以 訓練 模型 的 了 呢 是 在 這個 一個 機器 學習 很 大 過去 地方 得到 ， 。 「 」
"""
EN = """
    the a of model train we is that and but point, (loss) in which loss. network machine learning
"""


def random_text(seed: int) -> str:
    rng = random.Random(seed)
    share = rng.choice([0.0, 0.7, 1.0])
    words = [
        rng.choice(ZH.split()) if rng.random() < share else f" {rng.choice(EN.split())} "
        for _ in range(rng.randint(1, 30))
    ]
    return " ".join("".join(words).split())


def squeezed(texts: list[str] | tuple[str, ...]) -> str:
    return "".join("".join(texts).split())


def places(text: str) -> tuple[list[str], list[float]]:
    units = split_units(text, CONFIG)
    return units, break_costs(units, CONFIG)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ()),
        ("我" * 16, ("我" * 16,)),
        ("a" * 42, ("a" * 42,)),
        ("a" * 43, ("a" * 42, "a")),
        ("我們 attention 機制", ("我們 attention 機制",)),
        ("我" * 15 + " attention", ("我" * 9, "我" * 6 + " attention")),
        ("好訓練五個 epoch 是一件太複雜的事情", ("好訓練五個 epoch 是一件", "太複雜的事情")),
        ("他說「這是一個測試」，然後我們就開始講", ("他說「這是一個測試」，", "然後我們就開始講")),
        ("那一個重要的 machine learning 的方法很好", ("那一個重要的", "machine learning 的方法很好")),
        ("從百分之二十四掉到百分之九十二點五", ("從百分之二十四", "掉到百分之九十二點五")),
        ("我們每一次都把這些資料放進不一樣的地方", ("我們每一次都把這些資料", "放進不一樣的地方")),
        ("Next week we will add this difference to others.", ("Next week we will add", "this difference to others.")),
        ("This speed drops from fifty percent to eighty", ("This speed drops", "from fifty percent to eighty")),
        ("It is a model of the whole world that we can use", ("It is a model of the whole world", "that we can use")),
    ],
)  # fmt: skip
def test_wrap_by_hand(text: str, lines: tuple[str, ...]) -> None:
    assert wrap(text, CONFIG) == lines


@pytest.mark.parametrize("seed", range(150))
def test_no_text_takes_more_lines_than_it_must_nor_another_break_than_it_may(seed: int) -> None:
    """As all ways to break it show."""
    text = random_text(seed)
    lines = wrap(text, CONFIG)
    assert squeezed(lines) == squeezed([text])
    assert all(line == line.strip() and width(line, CONFIG) <= CONFIG.max_latin for line in lines)
    units, costs = places(text)
    allowed = [i + 1 for i, cost in enumerate(costs) if cost < math.inf]
    for num_cuts in range(min(len(lines) - 1, 2)):  # with fewer lines, some line is always too wide
        for cuts in combinations(allowed, num_cuts):
            pieces = ["".join(units[a:b]).strip() for a, b in pairwise([0, *cuts, len(units)])]
            assert any(width(piece, CONFIG) > CONFIG.max_latin for piece in pieces)


@pytest.mark.parametrize("seed", range(150))
def test_no_line_begins_or_ends_with_what_belongs_to_its_neighbour(seed: int) -> None:
    text = random_text(seed)
    lines = wrap(text, CONFIG)
    for before, line in pairwise(lines):
        assert line[0] not in "，。」),.?"
        assert line[0] not in "的了呢" or before[-1] in "，。,."  # which no language has
    for line in lines[:-1]:
        assert line[-1] not in "「("


def test_chinese_words_and_terms_are_not_cut() -> None:
    for text in ("機器學習", "不一樣", "好嗎", "看過了", "第三個", "五百二十", "3個", "98%的", "「我」", "我們的"):
        units, costs = places(text)
        assert all(cost == math.inf for cost in costs) or text == "機器學習", (text, list(zip(units, costs)))
    costs = places("的 machine learning 是")[1]
    assert costs[1] > max(costs[0], costs[2])  # inside a term, only if it must be


def test_a_pause_makes_a_break_cheaper_and_ends_a_word() -> None:
    units = split_units("我們今天開始", CONFIG)
    costs = break_costs(units, CONFIG)
    assert [cost < math.inf for cost in costs] == [False, True, False, True, False]
    paused = break_costs(units, CONFIG, [0.0, 0.4, 0.8, 0.0, 0.0, 0.0])
    assert paused[1] < costs[1] and paused[2] < math.inf and paused[4] == math.inf


def test_particles_that_begin_a_word_are_none() -> None:
    costs = places("我們過去的地方得到")[1]
    assert [cost < math.inf for cost in costs] == [False, True, False, False, True, False, True, False]


@pytest.mark.parametrize("lexicon", [None, common_words()], ids=["usual", "list alone"])
def test_words_by_hand(lexicon: dict[str, float] | None) -> None:
    def words(text: str) -> str:
        return " ".join(segment(text, lexicon))

    assert words("只要這些模型停在最特別的地方就沒有問題") == "只要 這些 模型 停在 最 特別 的 地方 就 沒有 問題"
    assert words("只要这些模型停在最特别的地方就没有问题") == "只要 这些 模型 停在 最 特别 的 地方 就 没有 问题"
    assert words("") == "" and words("我") == "我"


@pytest.mark.parametrize("seed", range(20))
def test_words_spell_the_text(seed: int) -> None:
    rng = random.Random(seed)
    characters = "".join(rng.choice("我們的了在機器學習龘㐀一二") for _ in range(rng.randint(0, 40)))
    words = segment(characters)
    assert "".join(words) == characters and all(1 <= len(word) <= 4 for word in words)
    assert len(usual_lexicon()) >= len(common_words()) > 700
