"""Times from outside: right ones pass, however rough; wrong ones are refused with what is off and by how much."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.matching import match_lectures
from lhotse_prep.alignment.outside_times import (
    Recording,
    check_times,
    misplaced,
    part_covered,
    share_in_speech,
    uncovered_speech,
)
from lhotse_prep.alignment.speech_fit import speech_fit
from lhotse_prep.workflow.errors import DataError

Spans = NDArray[np.float64]  # (N, 2) seconds
SEEDS = range(2)


def lecture(seed: int, seconds: float = 600.0) -> tuple[Recording, Spans]:
    """A recording with sentences of some seconds between pauses, and the times of its words."""
    rng = np.random.default_rng(seed)
    regions, words, now = [], [], 0.6
    while now < seconds - 8:
        lengths = rng.uniform(0.12, 0.38, rng.integers(6, 26))
        edges = now + np.concatenate([[0.0], np.cumsum(lengths)])
        words.append(np.stack([edges[:-1], edges[1:]], axis=1))
        regions.append((edges[0] - 0.05, edges[-1] + 0.05))
        now = edges[-1] + rng.choice([0.25, 0.45, 0.8, 2.0, 9.0], p=[0.4, 0.3, 0.2, 0.08, 0.02])
    return Recording("week1", seconds, np.array(regions)), np.concatenate(words)


def rough(words: Spans, kind: str, seed: int) -> Spans:
    """Times as recognisers give them."""
    rng, (start, end) = np.random.default_rng(seed), words.T.copy()
    kept = np.ones(len(start), bool)
    if kind == "whisper":  # 0.37 s off (median), 1 s (95%)
        start = start + rng.normal(0, 0.55, len(start))
        end = start + 0.2
    elif kind == "segments":  # whole segments of some seconds off
        offsets = rng.normal(0, 0.5, 1000)[(start // 7).astype(int)]
        start, end = start + offsets, end + offsets
    elif kind in ("tenths", "seconds"):
        start, end = (np.floor(x * (10 if kind == "tenths" else 1)) / (10 if kind == "tenths" else 1) for x in words.T)
        end = np.maximum(end, start + 0.1)
    elif kind == "most":  # a fifth is not recognised
        kept = rng.random(len(start)) < 0.8
    elif kind == "more":  # a tenth is invented, in noise and music
        start = np.concatenate([start, rng.uniform(0, end[-1], len(start) // 10)])
        end = np.concatenate([end, start[len(end) :] + 0.2])
        kept = np.ones(len(start), bool)
    elif kind == "without gaps":
        end = np.append(start[1:], end[-1])
    order = np.argsort(start, kind="stable")
    return np.clip(np.stack([start, end], axis=1)[order][kept[order]], 0, None)


def music(recording: Recording, seed: int) -> Recording:
    """The same where music and noise pass for speech, and one stretch of speech in ten is missed."""
    rng = np.random.default_rng(seed)
    begins = rng.uniform(0, recording.seconds - 9, int(recording.seconds / 40))
    added = np.stack([begins, begins + rng.uniform(1, 8, len(begins))], axis=1)
    regions = np.concatenate([recording.regions[rng.random(len(recording.regions)) < 0.9], added])
    steps = np.zeros(int(recording.seconds * 100) + 2, bool)
    for begin, end in regions:
        steps[int(begin * 100) : int(end * 100)] = True
    edges = np.flatnonzero(np.diff(steps.astype(np.int8))) + 1
    return Recording(recording.id, recording.seconds, edges[: len(edges) // 2 * 2].reshape(-1, 2) / 100)


def as_words(spans: Spans) -> Hypothesis:
    return Hypothesis(["我"] * len(spans), spans[:, 0], spans[:, 1])


ROUGH = ("exact", "whisper", "segments", "tenths", "seconds", "most", "more", "without gaps")


@pytest.mark.parametrize("kind", ROUGH)
@pytest.mark.parametrize("seed", SEEDS)
def test_right_times_pass(seed: int, kind: str) -> None:
    recording, words = lecture(seed)
    for place in (recording, music(recording, seed)):
        kept, fit = check_times(as_words(rough(words, kind, seed)), place)
        assert len(kept.words) == len(rough(words, kind, seed)) and misplaced(fit) == []
    if kind == "exact":
        assert check_times(as_words(words), recording)[1].agreement > 0.85


@pytest.mark.parametrize("seed", range(10))
def test_short_recordings_and_few_words_pass(seed: int) -> None:
    for seconds in (12.0, 30.0, 60.0):
        recording, words = lecture(seed, seconds)
        for kind in ROUGH:
            spans = rough(words, kind, seed)
            assert misplaced(check_times(as_words(spans[spans[:, 0] < seconds]), recording)[1]) == []
    assert check_times(Hypothesis([], np.zeros(0), np.zeros(0)), recording)[1].misfits == ()


WRONG = {
    "30 s late": (lambda w: w + 30, "they fit it 30.0 s earlier"),
    "30 s early": (lambda w: (w - 30)[w[:, 0] > 30], "they fit it 30.0 s later"),
    "2 s late": (lambda w: w + 2, r"they fit it (1\.9|2\.0|2\.1) s earlier"),
    "film speed": (lambda w: w * 1.0427, r"they fit it multiplied by 0\.95[89]\d"),
    "PAL": (lambda w: w * 0.96, r"they fit it multiplied by 1\.04[12]\d"),
    "half speed": (lambda w: w / 2, r"they fit it multiplied by (2\.000|1\.999)\d"),
    "second half 5 s late": (
        lambda w: w + 5.0 * (w[:, :1] > 300),
        r"words from (30\d|4\d\d) to \d+ s fit the speech [45]\.\d s earlier",
    ),
    "milliseconds": (lambda w: w * 1e3, "start after its end; as milliseconds they fit its speech; write seconds"),
    "frames of 10 ms": (lambda w: w * 100, "as frames of 10 ms they fit its speech"),
    "frames of 40 ms": (lambda w: w * 25, "as frames of 40 ms they fit its speech"),
    "samples": (lambda w: w * 16e3, "as samples at 16 kHz they fit its speech"),
    "minutes": (lambda w: w / 60, r"\d+ a second, more than anyone says; as minutes they fit its speech"),
    "from each segment": (lambda w: np.sort(w % 30, axis=0), "a second, more than anyone says; are they of another"),
    "ends as durations": (
        lambda w: np.stack([w[:, 0], w.sum(axis=1)], axis=1),
        "is the column of durations that of the ends",
    ),
    "evenly spread": (
        lambda w: np.linspace(0.6, 590, len(w))[:, None] + np.array([0.0, 0.2]),
        "are spread evenly, one each 0.2\\d s",
    ),
    "much after the end": (lambda w: w + 0.4 * w[:, :1] * (w[:, :1] > 550), r"\d+ of them start after its end"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_times_are_refused_with_what_is_off(seed: int, kind: str) -> None:
    recording, words = lecture(seed)
    change, message = WRONG[kind]
    for roughness in ("exact", "most") if seed and kind not in ("evenly spread", "from each segment") else ("exact",):
        with pytest.raises(DataError, match="lecture week1: ") as e:
            check_times(as_words(change(rough(words, roughness, seed))), recording)
        assert re.search(message, str(e.value)) and "\n" not in str(e.value)


def test_a_stretch_of_a_thousandth_over_an_hour() -> None:
    recording, words = lecture(0, 3600.0)
    with pytest.raises(DataError, match=r"they fit it multiplied by 0\.99[89]\d"):
        check_times(as_words(words * 1.001), recording)
    assert misplaced(check_times(as_words(words), recording)[1]) == []


def test_rough_times_that_are_shifted_or_of_another_recording(caplog: pytest.LogCaptureFixture) -> None:
    seed, seconds = 0, 1500.0
    recording, words = lecture(seed, seconds)
    with pytest.raises(DataError, match=r"they fit it (29\.\d|30\.\d) s earlier"):
        check_times(as_words(rough(words + 30, "whisper", seed)), recording)
    _, others = lecture(seed + 50, seconds)
    with pytest.raises(DataError, match="do not follow the pauses of its speech .agreement"):
        check_times(as_words(rough(others, "whisper", seed)), recording)
    caplog.clear()
    short, _ = lecture(seed, 600.0)
    check_times(as_words(others[others[:, 0] < 590]), short)
    assert "hardly follow the pauses of its speech (agreement" in caplog.text


@pytest.mark.parametrize("seed", SEEDS)
def test_small_offsets_and_a_few_late_words_are_said(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    recording, words = lecture(seed)
    check_times(as_words(words + 0.8), recording)
    assert re.search(r"fit the speech 0\.[789] s earlier; are all times a little off", caplog.text)
    late = np.concatenate([words, [[630.0, 630.2], [631.0, 631.2]]])
    kept, _ = check_times(as_words(late), recording)
    assert len(kept.words) == len(words) and "2 of them start after its end; they are left out" in caplog.text


def test_words_of_the_first_half_only_are_said(caplog: pytest.LogCaptureFixture) -> None:
    recording, words = lecture(0)
    check_times(as_words(words[words[:, 0] < 300]), recording)
    said = re.search(
        r"cover (\d+)% of its speech, 0\.6-30\d\.\d s; from (\d+)\.\d to (\d+)\.\d s there is", caplog.text
    )
    assert said and 45 < int(said[1]) < 55 and 300 <= int(said[2]) < 315 and 580 < int(said[3]) < 600


def test_words_where_nobody_speaks_are_refused() -> None:
    recording = Recording("week1", 60.0, np.array([[0.0, 10.0], [50.0, 60.0]]))
    words = np.linspace(12, 48, 60)[:, None] + np.array([0.0, 0.2])
    with pytest.raises(DataError, match="60 of its 60 words with times are where nobody speaks"):
        check_times(as_words(words), recording)


def test_speech_in_words_and_words_in_speech() -> None:
    regions = np.array([[1.0, 2.0], [3.0, 5.0], [10.0, 11.0]])
    start, end = np.array([0.0, 1.5, 1.9, 4.0, 7.0, np.nan]), np.array([0.5, 1.8, 2.3, 6.0, 8.0, np.nan])
    assert share_in_speech(start, end, regions, 0.0) == pytest.approx([0, 1, 0.25, 0.5, 0, 0])
    assert share_in_speech(start, end, regions, 0.1) == pytest.approx([0, 1, 0.5, 0.55, 0, 0])
    assert uncovered_speech(start[1:2], end[1:2], regions).tolist() == [[3.0, 5.0], [10.0, 11.0]]
    assert part_covered(start, end, regions) == 0.75 and part_covered(start[-1:], end[-1:], regions) == 0.0


def test_agreement_falls_with_errors() -> None:
    seed = 0
    recording, words = lecture(seed)

    def agreement(spans: Spans) -> float:
        return speech_fit(*spans.T, recording.regions, recording.seconds).agreement

    values = [agreement(rough(words, kind, seed)) for kind in ("exact", "segments", "whisper")]
    assert values == sorted(values, reverse=True) and agreement(rough(words + 30, "whisper", seed)) < values[-1] / 2
    assert match_lectures([], {}, str) == ({}, {})
