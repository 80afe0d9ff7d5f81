"""Cues are in time with their words, whatever the lecture; each test compares with the words themselves."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import replace
from html import unescape
from itertools import pairwise
from pathlib import Path

import pysubs2
import pytest

from lhotse_prep.text.normalize import remove_han_spaces
from ml2021.st.config import SentenceConfig, SubtitleConfig
from ml2021.st.cues.cue import Cue, TranslatedSentence
from ml2021.st.cues.cue_times import room_for_cues, start_times
from ml2021.st.cues.make import make_cues
from ml2021.st.output import Segment, write_lecture
from ml2021.st.sentences import Word, split_sentences

CONFIG = SubtitleConfig()
MAX_DELAY = 300  # milliseconds from a word to its cue
NUM_LECTURES = 600
PER_TEST = 50
HAN = "我們來講機器學習的這個那呃一百"
ENGLISH = ["attention", "a", "self-supervised", "98%", "l(x)", "2021", "3", "x²", "R&D", "bert", "don't", "<s>"]
STEPS = {  # seconds from the start of a word to the start of the next, and of pauses between turns
    "usual": ((0.15, 0.3), (0.3, 1.5)),
    "dense turns": ((0.1, 0.3), (0.3, 0.4)),
    "very fast": ((0.0, 0.04), (0.3, 0.31)),
    "long pauses": ((0.2, 0.5), (5.0, 40.0)),
    "at one moment": ((0.0, 0.0), (0.3, 0.5)),
}
TURNS = {"one word": (1, 1), "short": (1, 4), "long": (30, 60), "any": (1, 40)}


def random_words(rng: random.Random) -> list[Word]:
    """The words of a lecture as the recogniser gives them: in order, each ends before the next starts."""
    (fastest, slowest), pauses = STEPS[rng.choice(list(STEPS))]
    turns = TURNS[rng.choice(list(TURNS))]
    share_of_han = rng.choice([0.0, 0.7, 1.0])
    words: list[Word] = []
    time = rng.choice([0.0, 0.013, 2.5])
    for _ in range(rng.randint(1, 5)):
        for _ in range(rng.randint(*turns)):
            step = rng.uniform(fastest, slowest)
            text = rng.choice(HAN) if rng.random() < share_of_han else rng.choice(ENGLISH)
            words.append((text, time, time + rng.uniform(0.0, step)))
            time += step
        time += rng.uniform(*pauses)
    return words


def random_lecture(seed: int) -> tuple[list[Segment], float]:
    """Sentences with translations, and the duration of the recording."""
    rng = random.Random(seed)
    words = random_words(rng)
    config = SentenceConfig(min_tokens=rng.choice([1, 2]))
    empty = rng.choice([0.0, 0.2, 1.0])
    segments = []
    for sentence in split_sentences(words, config):
        count = 0 if rng.random() < empty else rng.randint(1, 1 + 2 * len(sentence.words))
        segments.append(Segment(sentence, " ".join("e" * rng.randint(1, 9) for _ in range(count)), -0.1))
    return segments, words[-1][2] + rng.choice([0.002, 0.05, 0.4, 30.0])


def joined(texts: Iterable[str]) -> str:
    """Without spaces, and with < as .srt has it."""
    return "".join("".join(texts).split()).replace("<", "＜")


def read_back(path: Path) -> list[Cue]:
    """Cues as a player reads them, with all lines as source_lines."""
    events = pysubs2.load(str(path), encoding="utf-8", format_=path.suffix[1:]).events
    return [Cue(e.start, e.end, tuple(unescape(e.plaintext).split("\n")), ()) for e in events]


def check_times(cues: list[Cue], duration: float) -> None:
    for cue in cues:
        assert 0 <= cue.start < cue.end <= min(1000 * duration + 1e-6, cue.start + 1000 * CONFIG.max_duration)
    for before, after in pairwise(cues):
        assert before.end <= after.start


def check_words(cues: list[Cue], words: list[Word]) -> None:
    """Every word is in one cue, in order, and each cue starts with its first word or at most MAX_DELAY ms later."""
    left = list(words)
    for cue in cues:
        text = joined(cue.source_lines)
        first = left[0]
        while text:
            word = joined([left.pop(0)[0]])
            assert text.startswith(word)
            text = text.removeprefix(word)
        assert 1000 * first[1] - 1e-6 <= cue.start <= 1000 * first[1] + MAX_DELAY + 1e-6
    assert left == []


@pytest.mark.parametrize("begin", range(0, NUM_LECTURES, PER_TEST))
def test_no_cue_of_any_lecture_is_early_late_overlapping_or_past_the_end(begin: int) -> None:
    for seed in range(begin, begin + PER_TEST):
        segments, duration = random_lecture(seed)
        sentences = bilingual(segments)
        words = [word for s in segments for word in s.sentence.words]
        source = make_cues([replace(s, target="") for s in sentences], CONFIG, duration)
        check_times(source, duration)
        check_words(source, words)
        target = make_cues([replace(s, source="") for s in sentences], CONFIG, duration)
        check_times(target, duration)
        assert joined(line for c in target for line in c.lines) == joined(s.target for s in segments)
        check_translations(target, segments)
        both = make_cues(sentences, CONFIG, duration)
        check_times(both, duration)
        assert joined(line for c in both for line in c.target_lines) == joined(s.target for s in segments)
        check_words([c for c in both if c.source_lines], words)


@pytest.mark.parametrize("seed", range(0, NUM_LECTURES, 10))
def test_files_have_these_cues(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    segments, duration = random_lecture(seed)
    write_lecture("x", segments, tmp_path, CONFIG, duration)
    sentences = bilingual(segments)
    for track, kept in (("", {}), (".zh", {"target": ""}), (".en", {"source": ""})):
        cues = make_cues([replace(s, **kept) for s in sentences], CONFIG, duration)
        for suffix in (".srt", ".vtt"):
            read = read_back(tmp_path / f"x{track}{suffix}")
            contents = [[(c.start, c.end, joined(c.lines)) for c in some] for some in (read, cues)]
            assert contents[0] == contents[1]


def bilingual(segments: list[Segment]) -> list[TranslatedSentence]:
    return [
        TranslatedSentence(
            s.sentence.start, s.sentence.end, remove_han_spaces(" ".join(s.sentence.tokens)), s.target, s.sentence.words
        )
        for s in segments
    ]


def check_translations(cues: list[Cue], segments: list[Segment]) -> None:
    """A cue starts while the sentence of its first letter is spoken; with the sentence's first letter, at its start."""
    owners = [(s, i) for s in segments for i in range(len(joined([s.target])))]
    for cue in cues:
        segment, letter = owners[0]
        start, end = 1000 * segment.sentence.start, 1000 * segment.sentence.end
        assert start - 1e-6 <= cue.start <= (end if letter else start) + MAX_DELAY + 1e-6
        owners = owners[len(joined(cue.lines)) :]
    assert owners == []


def test_many_short_turns_do_not_push_cues_on() -> None:
    """120 turns of 0.3 s, 0.4 s apart: each cue is in time, lasts a second, and the last ends with the audio."""
    turns = [TranslatedSentence(0.4 * i, 0.4 * i + 0.3, HAN[i % 12], f"e{i}.") for i in range(120)]
    cues = make_cues(turns, CONFIG, duration=48.0)
    check_times(cues, 48.0)
    check_words(cues, [(s.source, s.start, s.end) for s in turns])
    assert 48 >= len(cues) >= 30 and all(c.end - c.start >= 1000 for c in cues)


def test_turns_that_do_not_fit_into_one_cue_are_shortened() -> None:
    turns = [TranslatedSentence(0.4 * i, 0.4 * i + 0.3, "我" * 32, "") for i in range(120)]
    cues = make_cues(turns, CONFIG, duration=48.0)
    check_times(cues, 48.0)
    assert len(cues) == 120 and all(
        0 <= c.start - 400 * i <= 300 and c.end - c.start >= 310 for i, c in enumerate(cues)
    )


def test_times_of_a_split_sentence_come_from_its_words() -> None:
    """Slow words, then fast ones: the text's middle is not the time's middle."""
    slow = [("高", 0.3 * i, 0.3 * i + 0.2) for i in range(20)]
    words = tuple(slow + [("遠", 6.0 + 0.05 * i, 6.05 + 0.05 * i) for i in range(20)])
    for source, target in (("高" * 20 + "遠" * 20, ""), ("", "e " * 50)):
        cues = make_cues([TranslatedSentence(0.0, 7.0, source, target, words)], CONFIG)
        assert [c.start for c in cues] == [0, 6000]


def test_last_cue_ends_with_the_audio_and_joins_the_one_before_if_it_would_be_short() -> None:
    first, last = TranslatedSentence(1.0, 2.0, "好", "Good."), TranslatedSentence(2.4, 2.5, "謝謝", "Thanks.")
    assert make_cues([first, last], CONFIG, 2.6) == [Cue(1000, 2500, ("好 謝謝",), ("Good. Thanks.",))]
    assert [(c.start, c.end) for c in make_cues([last], CONFIG, 2.6)] == [(2400, 2600)]


@pytest.mark.parametrize("seed", range(100))
def test_room_is_an_even_share_of_what_there_is(seed: int) -> None:
    """As brute force over all ranges of cues has it; with it, no cue starts later than MAX_DELAY."""
    rng = random.Random(seed)
    earliest = sorted(rng.randint(0, rng.choice([300, 3000, 30000])) for _ in range(rng.randint(1, 30)))
    end = earliest[-1] + rng.choice([1, 100, 5000])
    room = room_for_cues(earliest, end, 1000).tolist()
    low = [*earliest, end]
    latest = [min(t + 299, end) for t in low]
    for i, milliseconds in enumerate(room):
        shares = [(latest[b] - low[a]) // (b - a) for a in range(i + 1) for b in range(i + 1, len(low))]
        assert min(1000, *shares) <= milliseconds <= 1000
    if min(room) >= 1:
        starts = start_times(earliest, room)
        assert all(t <= start <= t + 299 for t, start in zip(earliest, starts))
        assert all(b - a >= r for a, b, r in zip(starts, [*starts[1:], end], room))
