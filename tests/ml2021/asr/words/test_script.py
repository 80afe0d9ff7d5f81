"""Words in another script keep their times, also where a phrase changes its length."""

from __future__ import annotations

import random
from collections.abc import Callable

import opencc
import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.script import SCRIPTS, convert_script, convert_text
from ml2021.asr.words.timed_word import TimedToken, TimedWord

SIMPLIFIED = "这个软件的信息程序员内存打印机互联网鼠标点击我们说机器学习发现头发里面后来皇后"


def words_of(text: str, gap: float = 0.0) -> list[TimedWord]:
    """A word each 0.2 s."""
    return [TimedWord(t, i * (0.2 + gap), i * (0.2 + gap) + 0.2, 0.5) for i, t in enumerate(text.split())]


def rows(words: list[TimedWord]) -> list[tuple[str, float, float]]:
    return [(w.text, round(w.start, 3), round(w.end, 3)) for w in words]


def test_phrase_that_changes_its_length_shares_its_time() -> None:
    words = words_of("程 序 员 deep learning 内 存 的")
    assert rows(convert_script(words, "s2twp")) == [
        ("程", 0.0, 0.2),  # stays as it is, with its time
        ("式", 0.2, 0.3),
        ("設", 0.3, 0.4),
        ("計", 0.4, 0.5),
        ("師", 0.5, 0.6),
        ("deep", 0.6, 0.8),
        ("learning", 0.8, 1.0),
        ("記", 1.0, 1.133),
        ("憶", 1.133, 1.267),
        ("體", 1.267, 1.4),
        ("的", 1.4, 1.6),
    ]


def test_characters_that_change_one_by_one_keep_times_scores_and_tokens() -> None:
    word = TimedWord("头", 1.0, 1.2, 0.25, (TimedToken(7, 25, 0.25),))
    hair, grew = convert_script([word, TimedWord("发", 1.2, 1.5, 0.5)], "s2twp")
    assert (hair.text, grew.text) == ("頭", "髮")  # of a phrase, not 發
    assert (hair.start, hair.end, hair.score, hair.tokens) == (1.0, 1.2, 0.25, word.tokens)
    assert [w.text for w in convert_script(words_of("发 现"), "s2twp")] == ["發", "現"]


def test_no_phrase_across_a_long_pause_or_a_word() -> None:
    assert "".join(w.text for w in convert_script(words_of("软 件", gap=1.5), "s2twp")) == "軟件"
    assert [w.text for w in convert_script(words_of("u 盘"), "s2twp")] == ["u", "盤"]


@pytest.mark.parametrize("seed", range(20))
def test_texts_are_those_of_opencc_and_times_stay_inside(seed: int) -> None:
    rng = random.Random(seed)
    script = rng.choice(SCRIPTS)
    text = " ".join(rng.choices([*SIMPLIFIED, "gpt", "self-supervised"], k=rng.randint(0, 80)))
    source = words_of(text)
    result = convert_script(source, script)
    pieces = [
        "".join(p) for p in text.replace("gpt", "|gpt|").replace("self-supervised", "|self-supervised|").split("|")
    ]
    joined = "".join(opencc.OpenCC(script).convert(p.replace(" ", "")) for p in pieces)
    assert "".join(w.text for w in result) == joined.replace(" ", "")
    edges = [x for w in result for x in (w.start, w.end)]
    assert all(a <= b + 1e-9 for a, b in zip(edges, edges[1:]))
    assert not source or (edges[0], edges[-1]) == (source[0].start, source[-1].end)
    assert convert_text(text, script) == " ".join(w.text for w in result)
    assert convert_script(source, "") == source


@pytest.mark.parametrize(
    "convert",
    [lambda: convert_script([], "s2tpw"), lambda: convert_text("", "x"), lambda: RecogniserOptions(script="zh")],
)
def test_wrong_script_is_named_with_the_choices(convert: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="script must be one of .*s2twp.*got"):
        convert()
