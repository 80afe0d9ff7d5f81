"""Words of a punctuated text are those of the normalisation; each is shown as it is written."""

from __future__ import annotations

import random

import pytest

from lhotse_prep.text.normalize import normalize_transcript
from ml2021.st.marked_text import read_marks
from ml2021.st.sentences import written

PIECES = """
    我們 今天 講 「Self-Attention」 ， 。 ？ ！ 、 （很低） x² 0.64 GPT-3 BERT, it's "quoted" Dr. e.g. l(x) 3×3 98% —
    ... ① don't; (a) [b] ½ C++ R&D 。」 ﬁne ＡＢＣ => ~ # @ 《書》 don’t -1 10:30
"""


@pytest.mark.parametrize(
    ("text", "shown", "marks"),
    [
        ("我們講「BERT」，對嗎？", ["我", "們", "講", "「BERT」，", "對", "嗎？"], ["", "", "", "，", "", "？"]),
        ("講 完 ， 好 嗎 ？", ["講", "完，", "好", "嗎？"], ["", "，", "", "？"]),
        ("Dr. Lee said: “Go on...” So", ["Dr.", "Lee", "said:", "“Go", "on...”", "So"], ["", "", ":", "", ".", ""]),
        ("什麼是 x²？對，GPT-3", ["什", "麼", "是", "x²？", "對，", "GPT-3"], ["", "", "", "？", "，", ""]),
        ("it is 0.64, yes.", ["it", "is", "0.64,", "yes."], ["", "", ",", "."]),
        ("率（很低）！", ["率", "（很", "低）！"], ["", "", "！"]),
        ("this — that", ["this —", "that"], ["—", ""]),
        ("！！！", [], []),
        ("", [], []),
    ],
)
def test_by_hand(text: str, shown: list[str], marks: list[str]) -> None:
    result = read_marks(text)
    assert (result.shown, result.marks) == (shown, marks)


@pytest.mark.parametrize("seed", range(200))
def test_words_are_the_normalised_ones_and_nearly_all_is_shown(seed: int) -> None:
    rng = random.Random(seed)
    pieces = [rng.choice(PIECES.split()) for _ in range(rng.randint(1, 40))]
    text = "".join(piece + rng.choice(["", " ", "\n", "  "]) for piece in pieces)
    result = read_marks(text)
    assert result.words == normalize_transcript(text).split()
    assert len(result.words) == len(result.marks) == len(result.shown) and all(result.shown)
    shown = {c for c in "".join(result.shown) if "\u4e00" <= c <= "\u9fff"}
    assert shown == {c for c in text if "\u4e00" <= c <= "\u9fff"}


def test_a_usual_text_is_shown_as_it_is() -> None:
    text = "我們今天講「Self-Attention」，這是 BERT 的部分。什麼是 loss？對，GPT-3 有 0.64 的準確率（低）！So, it's."
    assert written(read_marks(text).shown) == text


def test_a_long_text_takes_seconds() -> None:
    result = read_marks("Last time, we did not finish it. 那上次我們還沒有講完 BERT 的部分。 " * 3000)
    assert len(result.words) == 3000 * 21 and result.marks.count(".") == result.marks.count("。") == 3000
