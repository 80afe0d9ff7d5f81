"""Each damage of the benchmark keeps the true times right: checked on a minute of tones, one frequency an utterance."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest

from benchmarks import sounds
from benchmarks.lecture_damage import (
    KINDS,
    NOT_SAID,
    SOUNDS,
    TEXTS,
    TIMES,
    Others,
    SpokenLecture,
    damaged,
    number_of,
    pause,
)
from lhotse_prep.audio.inspect import SAMPLE_RATE

NUM = 12  # utterances, one each 5 s, of 2 s
TEXT = "我 們 說 二 十 九 度 還 有 model 一 個"
OTHERS = Others(
    voices=[0.1 * np.random.default_rng(n).standard_normal(20 * SAMPLE_RATE).astype(np.float32) for n in range(2)],
    texts=[[f"{word}{n}" for n in range(200)] for word in ("other", "strange")],
)


def lecture() -> SpokenLecture:
    """Utterance n is a tone of 500 + 100 n Hz; each call gives a lecture that may be changed."""
    x = _lecture()
    return replace(x, samples=x.samples.copy(), utterances=x.utterances.copy())


@cache
def _lecture() -> SpokenLecture:
    samples = 1e-3 * np.random.default_rng(9).standard_normal(60 * SAMPLE_RATE).astype(np.float32)
    truth = []
    for n in range(NUM):
        begin = 5.0 * n + 1.5
        t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
        samples[round(begin * SAMPLE_RATE) :][: len(t)] += 0.3 * np.sin(2 * np.pi * (500 + 100 * n) * t)
        truth.append((begin, begin + 2.0, f"{TEXT} w{n}"))
    return SpokenLecture.of_truth("talk", samples, truth)


def strongest(samples: np.ndarray) -> float:
    """The strongest frequency in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


def is_same(x: SpokenLecture, y: SpokenLecture) -> bool:
    """Whether sound, times and text are the same."""
    return np.array_equal(x.samples, y.samples) and np.array_equal(x.utterances, y.utterances) and x.words == y.words


def said(x: SpokenLecture) -> list[tuple[str, int]]:
    return [(w.text, w.utterance) for w in x.words if w.utterance != NOT_SAID]


# The shortest and longest that a lecture becomes.
SECONDS = {
    "tempo-0.8": (75.0, 75.0),
    "tempo-1.25": (48.0, 48.0),
    "break": (660.0, 660.0),
    "asker": (60 + 5 * 3, 60 + 5 * 8),
    "fillers": (60 + 6 * 0.25, 60 + 6 * 0.9),
}
USABLE = [kind for kind in KINDS if kind != "mp3" or sounds.can_write_mp3()]


@pytest.fixture
def short_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """A break of one minute; the ten of its own take long to compute."""
    monkeypatch.setitem(KINDS, "break", partial(pause, minutes=1.0))


@pytest.mark.parametrize("kind", [*TIMES, "room", "telephone", "mp3", "pink-10"])
@pytest.mark.parametrize("seed", range(2))
def test_each_utterance_sounds_at_its_time(kind: str, seed: int) -> None:
    check_each_utterance(kind, seed)


@pytest.mark.parametrize("kind", ["asker+fillers+break", "three"])
@pytest.mark.parametrize("seed", range(2))
def test_each_utterance_sounds_at_its_time_with_several(kind: str, seed: int, short_break: None) -> None:
    check_each_utterance(kind, seed)


def check_each_utterance(kind: str, seed: int) -> None:
    if kind == "mp3" and kind not in USABLE:
        pytest.skip("soundfile's library does not write MP3")
    x = damaged(lecture(), kind, seed, OTHERS)
    if kind in TIMES:
        least, most = SECONDS[kind]
        assert least <= x.seconds <= most
    assert len(x.utterances) == NUM and x.utterances[-1, 1] < x.seconds
    assert (x.utterances[1:, 0] > x.utterances[:-1, 1]).all()
    for n, (begin, end) in enumerate((x.utterances * SAMPLE_RATE).astype(int).tolist()):
        assert strongest(x.samples[begin:end]) == pytest.approx(500 + 100 * n, abs=10)
        if kind in (*TIMES, "telephone", "mp3"):  # the utterance begins and ends within 25 ms of its times
            before, after = x.samples[begin - 800 : begin - 400], x.samples[end + 400 : end + 800]
            first, last = x.samples[begin + 400 : begin + 800], x.samples[end - 800 : end - 400]
            assert before.std() < 0.3 * first.std() and after.std() < 0.3 * last.std()


@pytest.mark.parametrize("kind", USABLE)
def test_seeds_reproduce_and_differ(kind: str, short_break: None) -> None:
    original = lecture()
    once = damaged(original, kind, 3, OTHERS)
    assert is_same(once, damaged(original, kind, 3, OTHERS))
    assert is_same(original, lecture())  # nothing is changed in place
    if kind.partition("-")[0] not in ("none", "telephone", "mp3", "tempo", "digits", "script", "unsaid"):
        assert not all(is_same(once, damaged(original, kind, seed, OTHERS)) for seed in (4, 5))


def test_there_is_no_other_kind() -> None:
    with pytest.raises(ValueError, match="no damage 'fog'"):
        damaged(lecture(), "room+fog", 0, OTHERS)


@pytest.mark.parametrize("kind", [kind for kind in SOUNDS if kind in USABLE])
def test_sounds_leave_the_text_and_the_times(kind: str) -> None:
    x, original = damaged(lecture(), kind, 0, OTHERS), lecture()
    assert x.words == original.words and np.array_equal(x.utterances, original.utterances)
    assert len(x.samples) == len(original.samples) and not np.array_equal(x.samples, original.samples)


@pytest.mark.parametrize("kind", [kind for kind in TEXTS if kind != "unsaid"])
@pytest.mark.parametrize("seed", range(3))
def test_texts_leave_the_sound_and_say_what_is_said(kind: str, seed: int) -> None:
    original = lecture()
    x = damaged(original, kind, seed, OTHERS)
    assert x.samples is original.samples and x.utterances is original.utterances
    assert [w.text for w in x.words] != [w.text for w in original.words]
    starts = [w for w in x.words if w.is_first]
    assert len({w.utterance for w in starts}) == len(starts)
    if kind == "foreign":
        assert said(x) == said(original)
    elif kind == "exchange":
        assert Counter(said(x)) == Counter(said(original))
    elif kind.startswith("deleted"):  # at most half of the lecture
        left = {u for _, u in said(x)}
        missing = set(range(NUM)) - left
        assert missing == set(range(min(missing), max(missing) + 1)) and 5 <= len(missing) <= 7
        assert said(x) == [w for w in said(original) if w[1] in left]
    elif kind == "digits":
        assert [w.text for w in x.words] == " ".join(
            f"我 們 說 29 度 還 有 model 一 個 w{n}" for n in range(NUM)
        ).split()
        assert [u for _, u in said(x)] == [n for n in range(NUM) for _ in range(11)]
    else:
        assert [w.text for w in x.words[:3]] == ["我", "们", "说"]
        assert [w.utterance for w in x.words] == [w.utterance for w in original.words]


def test_a_foreign_paragraph_is_of_another_text() -> None:
    words = damaged(lecture(), "foreign", 0, OTHERS).words
    places = [i for i, w in enumerate(words) if w.utterance == NOT_SAID]
    assert places == list(range(places[0], places[0] + 150))
    assert [words[i].text for i in places] in [list(t)[k : k + 150] for t in OTHERS.texts for k in range(len(t) - 149)]


@pytest.mark.parametrize("seed", range(3))
def test_words_that_are_not_said_are_unlike_those_near_them(seed: int) -> None:
    truth = [(5.0 * n, 5.0 * n + 4, " ".join(f"w{(7 * n + k) % 40}" for k in range(10))) for n in range(60)]
    original = SpokenLecture.of_truth("talk", np.zeros(0, np.float32), truth)
    x = damaged(original, "unsaid", seed, OTHERS)
    assert said(x) == said(original)
    unsaid = [i for i, w in enumerate(x.words) if w.utterance == NOT_SAID]
    assert 0.01 < len(unsaid) / len(original.words) < 0.12
    for i in unsaid:
        near = {w.text for w in x.words[max(0, i - 6) : i + 7] if w.utterance != NOT_SAID}
        assert x.words[i].text not in near


def test_a_wrong_text_is_all_of_another_lecture() -> None:
    x = damaged(lecture(), "wrong-text", 0, OTHERS)
    assert [w.text for w in x.words] in [list(t) for t in OTHERS.texts]
    assert not said(x) and not any(w.is_first for w in x.words)
    assert x.samples is not None and np.array_equal(x.samples, lecture().samples)


@pytest.mark.parametrize(
    ("numerals", "number"),
    [
        ("一二三", "123"),
        ("二十九", "29"),
        ("十一", "11"),
        ("二百零五", "205"),
        ("三万二千", "32000"),
        ("一千零二十", "1020"),
        ("二三十", None),
    ],
)
def test_numbers(numerals: str, number: str | None) -> None:
    assert number_of(numerals) == number
