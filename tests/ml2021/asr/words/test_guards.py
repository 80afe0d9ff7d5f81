"""What recognisers of windows do wrong is left out and counted; what people say stays."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from ml2021.asr.words.guards import Findings, guarded, normalised
from ml2021.asr.words.order import times_in_order
from ml2021.asr.words.timed_word import TimedWord

ALL = np.array([[0.0, 28.0]])  # speech everywhere


def spread(text: str, start: float, end: float, score: float = 0.9) -> list[TimedWord]:
    """Words that share a time evenly."""
    texts = text.split()
    edges = np.linspace(start, end, len(texts) + 1).tolist()
    return [TimedWord(t, a, b, score) for t, a, b in zip(texts, edges, edges[1:])]


def texts(words: list[TimedWord]) -> str:
    return " ".join(w.text for w in words)


def test_words_become_units_of_transcripts() -> None:
    words = [
        TimedWord(" 我們，", 0.0, 1.0, 0.5),
        TimedWord("。", 1.0, 1.1, 0.5),
        TimedWord("Self-Supervised,", 1.1, 2.0, 0.7),
    ]
    assert normalised(words) == [
        TimedWord("我", 0.0, 0.5, 0.5),
        TimedWord("們", 0.5, 1.0, 0.5),
        TimedWord("self-supervised", 1.1, 2.0, 0.7),
    ]


@pytest.mark.parametrize(
    "said",
    [
        *(
            "對 對 對",
            "好 好",
            "對 對 對 對 對 對 對 對",
            "謝 謝 謝 謝 大 家",
            "no no no",
            "零 零 零 零 零 零 一 零 零 零",
        ),
        *("慢 慢 慢 慢 的 學 慢 慢 慢 慢 的 學", "very very very very very very good"),
    ],
)
def test_repetitions_that_the_time_can_hold_stay(said: str) -> None:
    findings = Findings()
    before, after = spread("我 們 說", 0.0, 1.0), spread("然 後 再 說", 20.0, 21.0)
    words = [*before, *spread(said, 1.0, 1.0 + 0.25 * len(said.split())), *after]
    assert texts(guarded(words, 28.0, ALL, findings)) == f"我 們 說 {said} 然 後 再 說"
    assert findings == Findings()


@pytest.mark.parametrize("phrase", ["謝 謝 大 家", "對", "thank you for watching", "我 們 來 看 下 一 個"])
@pytest.mark.parametrize(("start", "end"), [(3.0, 8.0), (8.0, 8.0), (2.0, 3.0)])
def test_loops_are_reduced_to_their_first_part(phrase: str, start: float, end: float) -> None:
    findings = Findings()
    loop = spread(" ".join([phrase] * (120 // len(phrase.split())) + phrase.split()[:1]), start, end)
    speech = np.array([[0.0, 7.5]])
    words = guarded([*spread("我 們 說 的 是", 0.0, 2.0), *loop], 8.0, speech, findings)
    assert texts(words) == f"我 們 說 的 是 {phrase}"
    assert findings.repeated == len(loop) - len(phrase.split())


def test_endless_loop_is_one_even_if_it_could_be_said() -> None:
    words = guarded(spread("謝 謝 大 家 " * 12, 0.0, 28.0), 28.0, ALL, Findings())
    assert texts(words) == "謝 謝 大 家"


def test_text_in_silence_is_left_out() -> None:
    findings = Findings()
    words = [*spread("我 們 說", 0.0, 1.0), *spread("請 不 吝 點 贊", 8.0, 12.0), *spread("下 一 頁", 20.0, 21.0)]
    speech = np.array([[0.0, 1.2], [19.8, 21.2]])
    assert texts(guarded(words, 28.0, speech, findings)) == "我 們 說 下 一 頁"
    assert findings == Findings(in_silence=5)


@pytest.mark.parametrize("phrase", ["請 不 吝 點 贊 訂 閱", "thank you for watching please subscribe"])
def test_phrase_in_hardly_any_speech_is_left_out(phrase: str) -> None:
    findings = Findings()
    assert guarded(spread(phrase, 0.0, 0.9), 0.9, np.array([[0.3, 0.5]]), findings) == []
    assert findings == Findings(too_many=len(phrase.split()))
    assert texts(guarded(spread("好 ok", 0.2, 0.9), 0.9, np.array([[0.3, 0.5]]), Findings())) == "好 ok"


def test_text_squeezed_into_no_time_is_left_out() -> None:
    findings = Findings()
    said = "我 們 今 天 要 講 的 是 機 器 學 習 這 門 課 的 第 一 堂"
    squeezed = spread("中 文 字 幕 志 願 者 楊 茜 茜 李 宗 盛 明 鏡 與 點 點 欄 目 支 持 打 賞 轉 發", 6.0, 6.0)
    words = guarded([*spread(said, 0.0, 5.9), *squeezed], 6.0, np.array([[0.0, 6.0]]), findings)
    assert texts(words).startswith(said[: -len(" 堂")]) and len(words) <= 24  # at most one word goes with them
    assert findings.too_many == 19 + len(squeezed) - len(words) > 18


@pytest.mark.parametrize("moment", [0.0, 3.0, 14.8])
def test_words_without_times_of_their_own_are_spread_over_the_speech(moment: float) -> None:
    """All words at one moment, as by a model without times, or by Whisper where its attention says nothing."""
    findings = Findings()
    words = [TimedWord(chr(0x4E00 + i), moment, moment, 0.9) for i in range(60)]
    speech = np.array([[0.5, 6.5], [8.5, 14.5]])
    result = guarded(words, 14.8, speech, findings)
    assert texts(result) == texts(words) and findings == Findings()
    for i, w in enumerate(result):
        start = 0.5 + 0.2 * i + 2.0 * (i >= 30)
        assert (w.start, w.end) == pytest.approx((start, start + 0.2))


@pytest.mark.parametrize("seed", range(30))
def test_fast_speech_with_times_off_by_a_second_stays(seed: int) -> None:
    rng = random.Random(seed)
    rate = rng.uniform(2.0, 7.5)  # syllables a second
    num_words = int(rng.uniform(2.0, 28.0) * rate)
    words = [TimedWord(chr(0x4E00 + i), i / rate, (i + 1) / rate, 0.9) for i in range(num_words)]
    duration = num_words / rate
    moved = [TimedWord(w.text, w.start + (x := rng.uniform(-1, 1)), w.end + x, 0.9) for w in words]
    findings = Findings()
    assert texts(guarded(moved, duration, np.array([[0.0, duration]]), findings)) == texts(words)
    assert (findings.repeated, findings.in_silence, findings.too_many) == (0, 0, 0)


def test_times_outside_the_window_are_moved_into_it_and_counted() -> None:
    findings = Findings()
    words = [
        TimedWord("我", -0.5, 0.2, 0.9),
        TimedWord("們", 0.2, 0.5, 1.7),
        TimedWord("說", math.nan, 0.9, math.nan),
        TimedWord("過", 1.9, 2.01, -0.1),
        TimedWord("了", 2.4, 2.9, 0.9),
    ]
    result = guarded(words, 2.0, np.array([[0.0, 2.0]]), findings)
    assert findings == Findings(moved=3) and texts(result) == "我 們 說 過 了"
    assert all(0.0 <= w.start <= w.end <= 2.0 and 0.0 <= w.score <= 1.0 for w in result)


def test_findings_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    Findings().log("a.wav")
    assert caplog.text == ""
    Findings(repeated=7, moved=2).log("a.wav")
    assert [r.message for r in caplog.records] == [
        "a.wav: 7 words left out that repeat what was before; times of 2 words outside their window moved into it"
    ]


@pytest.mark.parametrize("seed", range(40))
def test_times_never_descend_and_few_change(seed: int) -> None:
    rng = random.Random(seed)
    num_words = rng.randint(1, 60)
    true = sorted(rng.uniform(0.0, 20.0) for _ in range(num_words))
    words = [TimedWord("我", t, min(20.0, t + rng.uniform(0.0, 1.0)), 0.5) for t in true]
    wrong = set(rng.sample(range(num_words), num_words // 5))
    given = [TimedWord("我", t := rng.uniform(0.0, 20.0), t, 0.5) if i in wrong else w for i, w in enumerate(words)]
    result = times_in_order(given, 20.0)
    assert all(a.start <= a.end <= b.start for a, b in zip(result, result[1:])) and result[-1].end <= 20.0
    assert all(w.end > w.start for w in result)
    kept = sum(abs(a.start - b.start) < 0.3 for i, (a, b) in enumerate(zip(result, words)) if i not in wrong)
    assert kept >= 0.7 * (num_words - len(wrong))
