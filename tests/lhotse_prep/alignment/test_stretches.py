"""Word times to supervisions: every timed word is in one, in order; pauses and untimed words end them."""

from __future__ import annotations

import numpy as np
import pytest
from lhotse import SupervisionSegment

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.stretches import end_errors, make_stretches, onset_errors
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.vad import HANGOVER


def lecture(num_words: int, duration: float = 100.0) -> SupervisionSegment:
    return SupervisionSegment("x", "x", 0.0, duration, text=" ".join(f"w{i}" for i in range(num_words)))


def times(*spans: tuple[float, float] | None) -> WordTimes:
    start, end = (np.array([np.nan if s is None else s[k] for s in spans]) for k in (0, 1))
    return WordTimes(start, end, np.full(len(spans), 0.5))


WHOLE = np.array([[0.0, 100.0]])


def test_pause_and_untimed_word_end_a_stretch() -> None:
    regions = np.array([[0.0, 1.2], [2.0, 4.0]])
    stretches = make_stretches(
        lecture(6), times((0.1, 0.2), (0.5, 0.6), (2.0, 2.1), None, (2.5, 2.6), (2.8, 2.9)), regions, StretchConfig()
    )
    assert [(s.id, s.text, s.custom["first_token"]) for s in stretches] == [
        ("x-00000", "w0 w1", 0),
        ("x-00001", "w2", 2),
        ("x-00002", "w4 w5", 4),
    ]
    assert [(s.start, s.end) for s in stretches] == [(0.1, 1.1), (2.0, pytest.approx(2.5)), (2.5, 3.9)]
    assert stretches[0].custom["confidence"] == 0.5


def test_no_word_is_drawn_out_over_speech_without_text() -> None:
    stretches = make_stretches(
        lecture(3), times((1.0, 1.1), (1.4, 1.5), (60.0, 60.1)), WHOLE, StretchConfig(max_word=1.2)
    )
    assert [(s.text, s.start, s.end) for s in stretches] == [("w0 w1", 1.0, 2.6), ("w2", 60.0, 61.2)]


def even_words(gaps: dict[int, float], num_words: int = 80) -> WordTimes:
    """Words that a model fires for 0.1 s, 0.1 s apart, but for the gaps after some of them."""
    start = np.concatenate([[1.0], 1.0 + np.cumsum([0.1 + gaps.get(w, 0.1) for w in range(num_words - 1)])])
    return WordTimes(start, start + 0.1, np.ones(num_words))


def test_a_syllable_before_a_pause_that_was_not_detected_lasts_as_long_as_others() -> None:
    times = even_words({20: 0.28, 40: 0.6, 60: 0.6})
    text = ["我"] * 80
    text[60] = "self-supervised"  # its last piece may last longer than a syllable
    spoken = SupervisionSegment("x", "x", 0.0, 100.0, text=" ".join(text))
    ends = {
        i: s.alignment["word"][k].end - times.end[i]
        for s in make_stretches(spoken, times, WHOLE, StretchConfig())
        for k, i in enumerate(range(s.custom["first_token"], s.custom["first_token"] + len(s.text.split())))
    }
    # less than twice the usual 0.1 s and 0.1 s more is no pause
    assert [ends[i] for i in (10, 20, 40, 60)] == pytest.approx([0.1, 0.28, 0.1, 0.6], abs=1e-3)
    detected = np.array([[0.0, times.end[40] + 0.25], [times.start[41] - 0.1, 100.0]])
    words = [i for s in make_stretches(spoken, times, detected, StretchConfig()) for i in s.alignment["word"]]
    assert words[40].end - times.end[40] == pytest.approx(0.25 - HANGOVER, abs=1e-3)


def test_a_syllable_before_untimed_words_is_drawn_out_to_where_they_may_be_said() -> None:
    times = even_words({20: 0.6})
    start = times.start.copy()
    start[21:24] = np.nan
    times = WordTimes(start, times.end, times.score)
    spoken = SupervisionSegment("x", "x", 0.0, 100.0, text=" ".join("我" * 80))
    before, after = make_stretches(spoken, times, WHOLE, StretchConfig())
    assert before.end == pytest.approx(after.start, abs=1e-3) and after.custom["first_token"] == 24


def test_no_syllable_lasts_longer_than_max_word() -> None:
    start = 1.0 + np.arange(80.0)
    start[60:] += 3.0
    times = WordTimes(start, start + 0.1, np.ones(80))
    spoken = SupervisionSegment("x", "x", 0.0, 100.0, text=" ".join("我" * 80))
    stretches = make_stretches(spoken, times, WHOLE, StretchConfig(max_word=0.5))
    assert all(i.duration <= 0.5001 for s in stretches for i in s.alignment["word"])


def test_a_few_syllables_do_not_tell_how_long_they_last() -> None:
    times = even_words({20: 0.6}, num_words=40)
    spoken = SupervisionSegment("x", "x", 0.0, 100.0, text=" ".join("我" * 40))
    (stretch,) = make_stretches(spoken, times, WHOLE, StretchConfig())
    assert stretch.alignment["word"][20].end == pytest.approx(times.start[21], abs=1e-3)


@pytest.mark.parametrize("seed", range(50))
def test_stretches_are_in_order_and_hold_each_timed_word_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_words = int(rng.integers(1, 80))
    start = np.cumsum(rng.exponential(0.3, num_words))
    end = start + rng.uniform(0, 0.5, num_words)
    start[rng.random(num_words) < 0.1] = np.nan
    stretches = make_stretches(lecture(num_words), WordTimes(start, end, np.ones(num_words)), WHOLE, StretchConfig())
    words = [i.symbol for s in stretches for i in s.alignment["word"]]
    assert words == [f"w{i}" for i in range(num_words) if np.isfinite(start[i])]
    assert words == " ".join(s.text for s in stretches).split()
    ends = [0.0] + [s.end for s in stretches]
    assert all(s.start >= before - 1e-3 for s, before in zip(stretches, ends))
    for s in stretches:
        items = s.alignment["word"]
        assert all(a.end <= b.start + 1e-3 for a, b in zip(items, items[1:])) and all(i.duration > 0 for i in items)
        assert s.start == items[0].start and s.end == pytest.approx(items[-1].end, abs=1e-3)


def test_onset_errors_count_a_lost_word_as_infinite() -> None:
    stretches = make_stretches(lecture(4), times((1.0, 1.1), (1.2, 1.3), None, (3.0, 3.1)), WHOLE, StretchConfig())
    truth = [(0.9, 1.2, "w0"), (1.25, 1.5, "w1"), (2.0, 2.5, "w2"), (3.0, 3.2, "w3")]
    assert onset_errors(stretches, truth) == [pytest.approx(0.1), pytest.approx(0.05), np.inf, 0.0]


def test_end_errors_are_those_of_the_last_tokens() -> None:
    stretches = make_stretches(
        lecture(4), times((1.0, 1.1), (1.2, 1.3), (2.9, 3.0), None), np.array([[90.0, 91.0]]), StretchConfig()
    )
    truth = [(0.9, 1.35, "w0 w1"), (2.9, 3.2, "w2"), (3.3, 3.5, "w3")]
    assert end_errors(stretches, truth) == [pytest.approx(0.05), pytest.approx(0.2), np.inf]


def test_last_word_ends_with_the_speech_and_not_with_the_stretch() -> None:
    """Speech from 1.0 to 1.5 s, which the detector ends HANGOVER later; the model's words are never shortened."""
    regions = np.array([[1.0, 1.5 + HANGOVER], [3.0, 3.5 + HANGOVER]])
    stretches = make_stretches(lecture(2), times((1.0, 1.2), (3.0, 3.55)), regions, StretchConfig())
    assert [s.end for s in stretches] == [pytest.approx(1.5), pytest.approx(3.55)]
