"""A transcript is timed by a recogniser's words although these have errors; text that is not spoken stays untimed."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.matching import match_times
from lhotse_prep.workflow.errors import DataError

HAN = "我們今天要講的是機器學習它可以做很多不同事情所以這個方法比較好跟大家說明一下怎麼訓練模型"
ENGLISH = ["bert", "gpt", "loss", "self-supervised", "neural", "network", "t-sne", "gradient"]
HOMOPHONE = {"是": "事", "他": "它", "的": "得", "機": "基", "很": "狠"}


def spoken(seed: int, count: int) -> tuple[list[str], np.ndarray]:
    """Words, a tenth of them English, and the second at which each begins."""
    rng = np.random.default_rng(seed)
    words = [str(rng.choice(ENGLISH)) if rng.random() < 0.1 else HAN[rng.integers(len(HAN))] for _ in range(count)]
    return words, np.cumsum(rng.uniform(0.15, 0.45, count) + (rng.random(count) < 0.05) * 1.0)


def recognised(seed: int, words: list[str], starts: np.ndarray, errors: float = 0.15) -> Hypothesis:
    """The words with homophones and errors: a third each deletions, insertions, substitutions; hyphens are lost."""
    rng = np.random.default_rng(seed)
    result: list[tuple[float, str]] = []
    for word, start in zip(words, starts):
        kind = rng.random() / errors
        if kind < 1 / 3:
            continue
        if kind < 2 / 3:
            result.append((start - 0.05, HAN[rng.integers(len(HAN))]))
        if 2 / 3 <= kind < 1:
            word = HAN[rng.integers(len(HAN))]
        parts = HOMOPHONE.get(word, word).split("-")
        result += [(start + 0.05 * i + rng.uniform(-0.03, 0.03), part) for i, part in enumerate(parts)]
    result.sort()
    times = np.array([t for t, _ in result])
    return Hypothesis([w for _, w in result], times, times + 0.1)


@pytest.mark.parametrize("seed", range(10))
def test_words_are_timed_through_errors(seed: int) -> None:
    words, starts = spoken(seed, 1500)
    times = match_times(words, recognised(seed, words, starts), "week1")
    timed = np.isfinite(times.start)
    off = np.abs(times.start - starts)[timed]
    assert timed.mean() > 0.93
    assert np.quantile(off, 0.95) < 0.1 and (off > 1.0).mean() <= 0.001
    assert (np.diff(times.start[timed]) > -0.1).all()
    assert np.median(times.score[timed]) == 1.0 and (times.score[~timed] == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_text_that_is_not_spoken_and_speech_without_text(seed: int) -> None:
    words, starts = spoken(seed, 1500)
    hypothesis = recognised(seed, words, starts)
    text = np.delete(np.array(words, dtype=object), np.s_[700:900])  # their speech has no text
    truth = np.delete(starts, np.s_[700:900])
    unspoken, _ = spoken(seed + 100, 180)
    times = match_times([*text[:300], *unspoken, *text[300:]], hypothesis, "week1")
    timed = np.isfinite(times.start)
    assert timed[300:480].mean() <= 0.02
    rest = np.delete(times.start, np.s_[300:480])
    off = np.abs(rest - truth)
    assert (off[np.isfinite(rest)] > 1.0).mean() <= 0.001 and np.isfinite(rest).mean() > 0.92


def test_homophones_count_as_matches() -> None:
    times = match_times(
        ["我", "是", "t-sne"], Hypothesis(["我", "事", "t", "sne"], np.arange(4.0), np.arange(4.0) + 0.5), "x"
    )
    assert times.start.tolist() == [0.0, 1.0, 2.0] and times.end.tolist() == [0.5, 1.5, 3.5]
    assert times.score.tolist() == [1.0, 1.0, 1.0]


def test_words_too_scattered_to_be_trusted_are_refused() -> None:
    """Each fourth word of a transcript leaves nearly every word without a time."""
    words, starts = spoken(1, 400)
    few = Hypothesis(words[::4], starts[::4], starts[::4] + 0.2)
    with pytest.raises(DataError, match=r"lecture week1: \d of 4\d\d in the transcript match .* in runs of 6 or more"):
        match_times(words, few, "week1")


def test_words_of_another_recording_are_refused() -> None:
    words, _ = spoken(0, 400)
    other = ["zzz"] * 400
    with pytest.raises(DataError, match="lecture week10_1: .*match 0 of"):
        match_times(words, Hypothesis(other, np.arange(400.0), np.arange(400.0) + 0.3), "week10_1")
