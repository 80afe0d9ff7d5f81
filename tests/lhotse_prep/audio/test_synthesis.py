"""Speakers of one process, which share the library's state."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.audio.synthesis import Speaker, Voice, speak_afresh
from lhotse_prep.workflow.errors import DataError


def test_two_speakers_take_turns() -> None:
    mandarin, english = Speaker(), Speaker()
    mandarin.choose("cmn-latn-pinyin", Voice("f2", rate=140, pitch=70))
    english.choose("en-us", Voice("m3"))
    words = ["wo3", "men5", "jin1", "tian1"]
    lengths = []
    for _ in range(3):
        speech = mandarin.speak(words)
        assert len(speech.word_starts) == len(words) and (np.diff(speech.word_starts) > 0).all()
        lengths.append(len(speech.samples))
        assert len(english.speak(["neural", "network"]).samples) > 0.3 * english.sample_rate
    assert np.ptp(lengths) < 0.02 * english.sample_rate and lengths[0] > 0.8 * mandarin.sample_rate  # the same voice


def test_a_speaker_goes_on_after_another_is_gone() -> None:
    speaker = Speaker()
    speaker.choose("en-us", Voice())
    before = len(speaker.speak(["network"]).samples)
    Speaker().choose("cmn-latn-pinyin", Voice())
    assert abs(len(speaker.speak(["network"]).samples) - before) < 0.02 * speaker.sample_rate


def test_phrases_spoken_afresh_always_sound_the_same() -> None:
    phrases = [("en-us", ["neural", "network"]), ("cmn-latn-pinyin", ["wo3", "men5"]), ("en-us", ["loss"])]
    Speaker().choose("en-us", Voice())
    (first, rate), (again, _) = (speak_afresh(phrases, Voice()) for _ in range(2))
    assert rate == Speaker().sample_rate and [len(x.word_starts) for x in first] == [2, 2, 1]
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.samples, b.samples) and np.array_equal(a.word_starts, b.word_starts)
    assert 0.1 < len(first[2].samples) / rate < 1.5 < 3 * len(first[0].samples) / rate


def test_failure_in_the_new_process_is_one_line() -> None:
    with pytest.raises(DataError, match="^speech synthesis failed: .*no voice xx"):
        speak_afresh([("xx", ["a"])], Voice())
