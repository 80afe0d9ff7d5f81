"""Cues stay within their limits and lose no text; a real parser reads the files."""

from __future__ import annotations

import random
import time
from html import unescape
from pathlib import Path

import pysubs2
import pytest

from lhotse_prep.workflow.errors import ConfigError
from ml2021.st.config import SubtitleConfig
from ml2021.st.subtitles import Cue, TranslatedSentence, _filled, _units, make_cues, width, wrap, write_subtitles

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
        assert cue.end - cue.start >= 1000 * config.min_duration or (after is not None and after.start == cue.end)
    assert squeezed([line for c in cues for line in c.source_lines]) == squeezed([s.source for s in ordered])
    assert squeezed([line for c in cues for line in c.target_lines]) == squeezed([s.target for s in ordered])


def test_short_sentence_is_one_cue_that_stays_a_second() -> None:
    cues = make_cues([TranslatedSentence(1.0, 1.4, "好", "Good.")], CONFIG)
    assert cues == [Cue(1000, 2000, ("好",), ("Good.",))]


def test_a_cue_stays_as_long_as_reading_takes_where_silence_follows() -> None:
    long = TranslatedSentence(1.0, 1.4, "好", "x" * 34)
    assert [(c.start, c.end) for c in make_cues([long], CONFIG)] == [(1000, 3000)]  # 34 characters, 17 a second
    cues = make_cues([long, TranslatedSentence(2.5, 4.5, "好", "Good.")], CONFIG)
    assert [(c.start, c.end) for c in cues] == [(1000, 2500), (2500, 4500)]


def test_next_sentence_waits_for_the_one_before_or_joins_it() -> None:
    first, second = (
        TranslatedSentence(0.0, 0.4, "好", "Good."),
        TranslatedSentence(0.5, 2.5, "我們開始", "Let us begin."),
    )
    assert make_cues([second, first], CONFIG) == [Cue(0, 2500, ("好 我們開始",), ("Good. Let us begin.",))]
    later = TranslatedSentence(0.75, 2.5, "我們開始", "Let us begin.")
    assert [(c.start, c.end) for c in make_cues([later, first], CONFIG)] == [(0, 1000), (1000, 2500)]


def test_sentence_without_text_has_no_cue() -> None:
    assert make_cues([TranslatedSentence(0, 1, " ", "")], CONFIG) == [] == make_cues([], CONFIG)


def test_long_sentence_is_shared_out_in_time() -> None:
    cues = make_cues([TranslatedSentence(10.0, 22.0, "我" * 60, "word " * 20)], CONFIG)
    assert len(cues) == 2 and cues[0].start == 10_000 and cues[-1].end == 22_000
    assert cues[0].end == cues[1].start == pytest.approx(16_000, abs=600)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("我" * 16, ["我" * 16]),
        ("我" * 17, ["我" * 9, "我" * 8]),
        ("a" * 42, ["a" * 42]),
        ("a" * 43, ["a" * 42, "a"]),
        (" ".join(["word"] * 9), ["word word word word word", "word word word word"]),
        ("我們 attention 機制", ["我們 attention 機制"]),
        ("我" * 15 + " attention", ["我" * 9, "我" * 6 + " attention"]),
    ],
)
def test_wrap(text: str, lines: list[str]) -> None:
    assert wrap(text, CONFIG) == lines


@pytest.mark.parametrize("seed", range(5))
def test_a_real_parser_reads_the_files(seed: int, tmp_path: Path) -> None:
    cues = make_cues(random_sentences(seed), CONFIG)
    for path in write_subtitles(cues, tmp_path, "week1"):
        events = pysubs2.load(str(path), encoding="utf-8", format_=path.suffix[1:]).events
        assert [(e.start, e.end, e.plaintext) for e in events] == [(c.start, c.end, "\n".join(c.lines)) for c in cues]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["week1.srt", "week1.vtt"]


def test_marks_of_mathematics_are_not_taken_for_tags(tmp_path: Path) -> None:
    text = "if x<y & y>0 --> {a}"
    srt, vtt = write_subtitles([Cue(0, 3_723_004, (text,), ())], tmp_path, "week1")
    assert srt.read_text() == "1\n00:00:00,000 --> 01:02:03,004\nif x＜y & y>0 → (a)\n\n"
    line = vtt.read_text().split("\n")[3]
    assert "<" not in line and ">" not in line and unescape(line) == text


def test_no_cues_make_files_that_are_valid(tmp_path: Path) -> None:
    srt, vtt = write_subtitles([], tmp_path, "week1")
    assert srt.read_text() == "" and vtt.read_text() == "WEBVTT\n\n"


@pytest.mark.parametrize(
    "values", [{"min_duration": 0.0}, {"min_duration": 8.0}, {"max_lines": 0}, {"max_cjk": 50}, {"max_latin": 0}]
)
def test_impossible_limits_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SubtitleConfig(**values)  # type: ignore[arg-type]


def test_limits_below_a_millisecond_count_as_one() -> None:
    sentences = [TranslatedSentence(float(i), i + 0.5, "好", "Good.") for i in range(3)]
    cues = make_cues(sentences, SubtitleConfig(min_duration=1e-5, max_duration=1e-4))
    assert [(c.start, c.end) for c in cues] == [(0, 1), (1000, 1001), (2000, 2001)]


def test_a_sentence_of_ten_thousand_characters_takes_no_minutes() -> None:
    started = time.process_time()
    cues = make_cues([TranslatedSentence(1.0, 3000.0, "好" * 10000, "word " * 3000)], SubtitleConfig(max_duration=60.0))
    assert sum(len("".join(c.source_lines)) for c in cues) == 10000 and time.process_time() - started < 10


def test_lines_are_about_as_wide_as_each_other() -> None:
    assert wrap("我" * 17, CONFIG) == ["我" * 9, "我" * 8]
    assert wrap("This speed drops from fifty percent to eighty", CONFIG) == [
        "This speed drops from",
        "fifty percent to eighty",
    ]
    assert wrap("我" * 16, CONFIG) == ["我" * 16]


@pytest.mark.parametrize("seed", range(20))
def test_no_text_takes_more_lines_than_it_must(seed: int) -> None:
    text = random_text(random.Random(seed), 12)
    lines = wrap(text, CONFIG)
    assert len(lines) == len(_filled(_units(text, CONFIG), CONFIG.max_latin, CONFIG)) and squeezed(lines) == squeezed(
        [text]
    )
