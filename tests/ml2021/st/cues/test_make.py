"""Cues stay within their limits and lose no text."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.st.cues.config import SubtitleConfig
from ml2021.st.cues.cue import Cue, TranslatedSentence, Word
from ml2021.st.cues.cue_times import end_times
from ml2021.st.cues.limits import broken_limits
from ml2021.st.cues.make import make_cues
from ml2021.st.cues.widths import width

CONFIG = SubtitleConfig()


def random_text(rng: random.Random, num_units: int) -> str:
    han = "我們來講機器學習的這個那呃"
    english = ["attention", "a", "self-supervised", "x" * 60, "98%", "l(x)"]
    return " ".join(
        rng.choice(han) * rng.randint(1, 4) if rng.random() < 0.7 else rng.choice(english) for _ in range(num_units)
    )


def random_sentences(seed: int) -> list[TranslatedSentence]:
    rng = random.Random(seed)
    sentences, time = [], 0.0
    for _ in range(rng.randint(1, 12)):
        time += rng.choice([-0.3, 0.0, 0.05, 0.5, 4.0])
        end = max(time, 0.0) + rng.choice([0.0, 0.1, 0.8, 3.0, 9.0, 40.0])
        target = " ".join("word" * rng.randint(1, 3) for _ in range(rng.choice([0, 1, 8, 60])))
        sentences.append(TranslatedSentence(max(time, 0.0), end, random_text(rng, rng.choice([0, 1, 5, 50])), target))
        time = end
    return sentences


def squeezed(lines: list[str]) -> str:
    return "".join("".join(lines).split())


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("config", [CONFIG, SubtitleConfig(max_latin=7, max_cjk=3, max_lines=1, max_duration=2.0)])
def test_cues_keep_the_limits_and_lose_nothing(seed: int, config: SubtitleConfig) -> None:
    sentences = random_sentences(seed)
    cues = make_cues(sentences, config)
    ordered = sorted(sentences, key=lambda s: (s.start, s.end))
    is_one_by_one = all(a.end <= b.start for a, b in zip(ordered, ordered[1:]))  # else words have no order of time
    for cue in cues:
        assert 0 <= cue.start < cue.end <= cue.start + 1000 * config.max_duration
        longest = max(len(cue.source_lines), len(cue.target_lines))
        assert cue.lines and (longest <= config.max_lines or not is_one_by_one)
        assert all(line == line.strip() and 0 < width(line, config) <= config.max_latin + 0.001 for line in cue.lines)
    for before, after in zip(cues, cues[1:]):
        assert before.end <= after.start
    for cue, after in zip(cues, [*cues[1:], None]):  # shorter only where the next one's words leave no room
        is_next_close = after is not None and after.start - cue.end <= 1000 * config.min_gap
        assert cue.end - cue.start >= 1000 * config.min_duration or is_next_close
    assert squeezed([line for c in cues for line in c.source_lines]) == squeezed([s.source for s in ordered])
    assert squeezed([line for c in cues for line in c.target_lines]) == squeezed([s.target for s in ordered])


def spoken(text: str, start: float = 1.0, step: float = 0.2) -> tuple[Word, ...]:
    """The words of a text, which are spoken without a pause."""
    pieces = [w for piece in text.split() for w in ([piece] if piece.isascii() else piece)]
    return tuple((w, start + i * step, start + (i + 1) * step) for i, w in enumerate(pieces))


@pytest.mark.parametrize("seed", range(40))
def test_gaps_are_two_frames_or_long(seed: int) -> None:
    """A gap below half a second is closed to exactly two frames, unless the cue would be too long or crowded."""
    rng = random.Random(seed)
    sentences, time = [], 0.5
    for _ in range(30):
        words = spoken("我們來講機器學習"[: rng.randint(4, 8)], time, rng.uniform(0.15, 0.3))
        text = "".join(w[0] for w in words)
        sentences.append(TranslatedSentence(words[0][1], words[-1][2], text, "We talk about it.", words))
        time = words[-1][2] + rng.choice([0.0, 0.05, 0.2, 0.45, 0.55, 1.2, 3.0])
    cues = make_cues(sentences, CONFIG, time + 10)
    gaps = {after.start - before.end for before, after in pairwise(cues)}
    assert 80 in gaps and all(gap == 80 or gap >= 500 for gap in gaps)
    assert broken_limits(cues, CONFIG) == []


def test_gaps_by_hand() -> None:
    assert end_times([0, 2000, 10_000], [1500, 3000], CONFIG) == [1500, 3000]  # half a second is no small gap
    assert end_times([0, 2000, 10_000], [1501, 3000], CONFIG) == [1920, 3000]
    assert end_times([0, 2000, 10_000], [2500, 12_000], CONFIG) == [1920, 9000]  # max_duration
    assert end_times([0, 2000, 4000], [500, 4500], CONFIG) == [500, 4000]  # the last one has the audio to its end
    assert end_times([0, 7200, 9000], [6900, 8000], CONFIG) == [7000, 8000]  # not beyond max_duration
    assert end_times([0, 100, 9000], [50, 1100], CONFIG) == [50, 1100]  # crowded: the two share what there is
    assert end_times([0, 1, 9000], [1, 1001], CONFIG) == [1, 1001]
    no_gap = SubtitleConfig(min_gap=0.0, close_gap=0.0)
    assert end_times([0, 2000, 10_000], [1990, 3000], no_gap) == [1990, 3000]


def test_short_sentence_is_one_cue_that_stays_a_second() -> None:
    cues = make_cues([TranslatedSentence(1.0, 1.4, "好", "Good.")], CONFIG)
    assert cues == [Cue(1000, 2000, ("好",), ("Good.",))]


def test_a_cue_stays_as_long_as_reading_takes_where_silence_follows() -> None:
    long = TranslatedSentence(1.0, 1.4, "好", "x" * 34)
    assert [(c.start, c.end) for c in make_cues([long], CONFIG)] == [(1000, 3000)]  # 34 characters, 17 a second
    cues = make_cues([long, TranslatedSentence(2.5, 4.5, "好", "Good.")], CONFIG)
    assert [(c.start, c.end) for c in cues] == [(1000, 2420), (2500, 4500)]
    chinese = TranslatedSentence(1.0, 1.4, "好" * 27, "Good.")
    assert [(c.start, c.end) for c in make_cues([chinese], CONFIG)] == [(1000, 4000)]  # 27 characters, 9 a second


def test_next_sentence_waits_for_the_one_before_or_joins_it() -> None:
    first, second = (
        TranslatedSentence(0.0, 0.4, "好", "Good."),
        TranslatedSentence(0.5, 2.5, "我們開始", "Let us begin."),
    )
    assert make_cues([second, first], CONFIG) == [Cue(0, 2500, ("好 我們開始",), ("Good. Let us begin.",))]
    marked = [TranslatedSentence(0.0, 0.4, "好。", "Good."), second]
    assert make_cues(marked, CONFIG)[0].source_lines == ("好。我們開始",)
    later = TranslatedSentence(0.8, 2.5, "我們開始", "Let us begin.")
    assert [(c.start, c.end) for c in make_cues([later, first], CONFIG)] == [(0, 1000), (1080, 2500)]


def test_sentence_without_text_has_no_cue() -> None:
    assert make_cues([TranslatedSentence(0, 1, " ", "")], CONFIG) == [] == make_cues([], CONFIG)


def test_long_sentence_is_shared_out_in_time() -> None:
    cues = make_cues([TranslatedSentence(10.0, 22.0, "我" * 60, "word " * 20)], CONFIG)
    assert len(cues) == 2 and cues[0].start == 10_000 and cues[-1].end == 22_000
    assert cues[0].end + 80 == cues[1].start == pytest.approx(16_000, abs=600)


def test_long_sentences_are_cut_where_clauses_begin() -> None:
    source = "我們開始測量不同的分數所以我們的 generator 比那個 decoder 更小"
    target = "We start to measure different scores, so our generator is smaller than the decoder."
    words = spoken(source)
    config = SubtitleConfig(max_latin=55, max_cjk=21, max_lines=1)
    cues = make_cues([TranslatedSentence(1.0, words[-1][2], source, target, words)], config)
    assert [c.source_lines for c in cues] == [
        ("我們開始測量不同的分數",),
        ("所以我們的 generator 比那個 decoder 更小",),
    ]
    assert [c.target_lines[0].split()[0] for c in cues] == ["We", "so"]


def test_a_pause_is_a_better_place_than_the_middle() -> None:
    text = "他把書給小王看完再說好話"
    words = tuple(
        (c, 1 + 0.2 * i + (0.4 if i >= 8 else 0), 1.2 + 0.2 * i + (0.4 if i >= 8 else 0)) for i, c in enumerate(text)
    )
    config = SubtitleConfig(max_latin=21, max_cjk=8, max_lines=1)
    assert make_cues([TranslatedSentence(1.0, 4.0, text, "", words)], config)[1].source_lines == (text[8:],)


def test_a_translation_without_its_source_is_cut_at_its_phrases() -> None:
    target = "That training takes a lot of time, but the model that we get is much better than the one before, he said."
    words = spoken("那個訓練需要很多時間但是我們得到的模型比以前好很多他說")
    cues = make_cues([TranslatedSentence(1.0, words[-1][2], "", target, words)], CONFIG)
    assert [" ".join(c.target_lines) for c in cues][0] == "That training takes a lot of time,"


@pytest.mark.parametrize(
    "values",
    [
        {"min_duration": 0.0}, {"min_duration": 8.0}, {"max_lines": 0}, {"max_cjk": 50}, {"max_latin": 0},
        {"reading_speed": 0.0}, {"cjk_reading_speed": 0.0}, {"max_reading_speed": 16.0}, {"min_gap": -0.1},
        {"min_gap": 8.0, "close_gap": 9.0}, {"close_gap": 0.05},
    ],
)  # fmt: skip
def test_impossible_limits_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SubtitleConfig(**values)  # type: ignore[arg-type]


def test_limits_below_a_millisecond_count_as_one() -> None:
    sentences = [TranslatedSentence(float(i), i + 0.5, "好", "Good.") for i in range(3)]
    config = SubtitleConfig(min_duration=1e-5, max_duration=1e-4, min_gap=0.0, close_gap=0.0)
    assert [(c.start, c.end) for c in make_cues(sentences, config)] == [(0, 1), (1000, 1001), (2000, 2001)]


def test_a_sentence_of_ten_thousand_characters_takes_no_minutes() -> None:
    started = time.process_time()
    cues = make_cues([TranslatedSentence(1.0, 3000.0, "好" * 10000, "word " * 3000)], SubtitleConfig(max_duration=60.0))
    assert sum(len("".join(c.source_lines)) for c in cues) == 10000 and time.process_time() - started < 10
