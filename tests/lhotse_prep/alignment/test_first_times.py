"""First times without a model, on speech of another voice and rate than the synthetic speech."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio.functional import resample

from lhotse_prep.alignment.first_times import (
    _dtw,
    after_pauses,
    group_regions,
    regrouped,
    split_between_words,
    synthetic_times,
)
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError

PHRASES = [
    ("我 們 今 天 要 講 的 是 機 器 學 習", "wo3 men5 jin1 tian1 yao4 jiang3 de5 shi4 ji1 qi4 xue2 xi2"),
    ("neural network", None),
    ("它 可 以 做 很 多 不 同 的 事 情", "ta1 ke3 yi3 zuo4 hen3 duo1 bu4 tong2 de5 shi4 qing2"),
    ("gradient descent", None),
    ("所 以 這 個 方 法 比 較 好", "suo3 yi3 zhe4 ge5 fang1 fa3 bi3 jiao4 hao3"),
]


@pytest.fixture(scope="module")
def lecture() -> tuple[list[str], np.ndarray, list[float]]:
    """Words, samples, and the true start of each phrase in seconds."""
    rng = np.random.default_rng(0)
    speaker, voice = Speaker(), Voice("f2", rate=140, pitch=70)
    parts, starts, words, at = [], [], [], 0
    for text, pinyin in PHRASES * 3:
        gap = rng.normal(0, 1e-3, int(rng.uniform(0.3, 1.0) * SAMPLE_RATE)).astype(np.float32)
        language, spoken = ("cmn-latn-pinyin", pinyin.split()) if pinyin else ("en-us", text.split())
        speaker.choose(language, voice)
        speech = speaker.speak(spoken)
        samples = resample(torch.from_numpy(speech.samples), speaker.sample_rate, SAMPLE_RATE).numpy()
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
        starts.append((at + len(gap) + loud[0]) / SAMPLE_RATE)
        parts += [gap, samples]
        at += len(gap) + len(samples)
        words += text.split()
    samples = np.concatenate(parts)
    return words, (samples + rng.normal(0, 2e-3, len(samples))).astype(np.float32), starts


def test_words_land_near_their_true_times(lecture: tuple[list[str], np.ndarray, list[float]]) -> None:
    words, samples, starts = lecture
    regions = speech_regions(samples, "x")
    times = synthetic_times(words, fbank(samples), regions) / SAMPLE_RATE
    assert len(times) == len(words) and (np.diff(times) >= 0).all()
    firsts = np.cumsum([0] + [len(text.split()) for text, _ in PHRASES * 3])[:-1]
    errors = np.abs(times[firsts] - np.array(starts))  # a word in front of the pause would be 0.3 s off at least
    assert np.median(errors) < 0.05 and (errors > 0.2).sum() <= 1 and errors.max() < 1.0


def test_words_just_before_a_pause_begin_after_it() -> None:
    regions = np.array([[0, 10_000], [20_000, 30_000], [31_000, 40_000]])
    begins = np.array([-5.0, 0.0, 6_000, 6_900, 9_999, 10_500, 20_000, 29_000, 31_000, 39_999, 50_000, np.nan])
    expected = [-5.0, 0.0, 6_000, 20_000, 20_000, 20_000, 20_000, 31_000, 31_000, 39_999, 50_000, np.nan]
    assert np.array_equal(after_pauses(begins, regions), expected, equal_nan=True)
    assert len(after_pauses(np.zeros(0), regions)) == 0


def test_voice_activity_leaves_torch_its_threads(lecture: tuple[list[str], np.ndarray, list[float]]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        speech_regions(lecture[1], "x")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_silence_is_refused_with_the_lecture() -> None:
    with pytest.raises(DataError, match="lecture quiet: no speech"):
        speech_regions(np.zeros(SAMPLE_RATE, np.float32), "quiet")


def pink(rng: np.random.Generator, num_samples: int) -> np.ndarray:
    spectrum = np.fft.rfft(rng.normal(size=num_samples))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 1), num_samples)
    return noise / noise.std()


@pytest.mark.parametrize("noise", ["white", "pink"])
@pytest.mark.parametrize("rate", [0.8, 1.25])
def test_other_voices_rates_and_noise(
    lecture: tuple[list[str], np.ndarray, list[float]], rate: float, noise: str
) -> None:
    """Formants and pitch scale with the playing rate: voices that the synthesiser lacks; noise at 15 dB."""
    words, samples, starts = lecture
    other = resample(torch.from_numpy(samples), round(100 * rate), 100).numpy()
    rng = np.random.default_rng(1)
    added = pink(rng, len(other)) if noise == "pink" else rng.normal(size=len(other))
    level = other[np.abs(other) > 0.02].std() * 10 ** (-15 / 20)
    other = (other + level * added).astype(np.float32)
    times = synthetic_times(words, fbank(other), speech_regions(other, "x")) / SAMPLE_RATE
    firsts = np.cumsum([0] + [len(text.split()) for text, _ in PHRASES * 3])[:-1]
    errors = np.abs(times[firsts + 1] - np.array(starts) / rate - 0.2)
    assert np.median(errors) < 0.4 and errors.max() < 1.5


@pytest.mark.parametrize("seed", range(10))
def test_warping_follows_a_known_path(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(60, 8)).astype(np.float32)
    steps = rng.choice([0, 1, 1, 1, 2], size=50)
    truth = np.minimum(np.cumsum(steps), 59)
    x = (y[truth] + 0.1 * rng.normal(size=(50, 8))).astype(np.float32)
    path = _dtw(x, y, truth + rng.integers(-3, 4, 50), 20)
    assert (path == truth)[1:].mean() > 0.9 and np.abs(path - truth).max() <= 2


def test_regions_are_grouped_up_to_the_limit() -> None:
    regions = np.array([[0, 10], [12, 20], [30, 70], [71, 75]])
    assert group_regions(regions, 25).tolist() == [[0, 20], [30, 70], [71, 75]]
    assert regrouped(regions, group_regions(regions, 25), 25).tolist() == [[0, 10], [12, 20], [30, 70], [71, 75]]
    assert regrouped(regions, group_regions(regions, 70), 70).tolist() == [[0, 20], [30, 75]]


@pytest.mark.parametrize("seed", range(20))
def test_regrouped_windows_hold_the_same_stretches_with_other_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.cumsum(rng.integers(1, (40, 200)[seed % 2], 240))
    regions, most = edges.reshape(-1, 2), 500
    spans = group_regions(regions, most)
    other = regrouped(regions, spans, most)
    counts = [((regions[:, 0] >= b) & (regions[:, 1] <= e)).sum() for b, e in other.tolist()]
    assert sum(counts) == len(regions) and (other[1:, 0] > other[:-1, 1]).all()
    assert set(other[:, 0]) <= set(regions[:, 0]) and set(other[:, 1]) <= set(regions[:, 1])
    are_several = np.array([(regions[:, 0] >= b).sum() - (regions[:, 0] >= e).sum() > 1 for b, e in spans.tolist()])
    between = spans[1:, 0][are_several[1:] & are_several[:-1]]  # edges between windows that have pauses
    assert len(between) and not set(between) & set(other[:, 0])
    pieces = split_between_words(other, np.zeros(0), np.zeros(0), 4 * most)
    assert len(pieces) == len(other), "none is longer than two windows and a pause"


def test_regrouped_windows_end_at_breaks() -> None:
    regions = np.array([[0, 10], [12, 20], [100, 110], [115, 120]])
    assert regrouped(regions, group_regions(regions, 25), 25).tolist() == [[0, 10], [12, 20], [100, 110], [115, 120]]
    assert regrouped(regions, group_regions(regions, 25), 85).tolist() == [[0, 10], [12, 110], [115, 120]]
    assert regrouped(regions[:1], regions[:1], 25).tolist() == [[0, 10]]
    assert regrouped(regions[:0], regions[:0], 25).shape == (0, 2)


def test_long_spans_are_cut_in_the_widest_gap_between_words() -> None:
    middles = np.array([2.0, 8.0, 12.0, np.nan, 24.0, 30.0, 41.0, 95.0, 99.0])
    start, end = middles - 1, middles + 1
    spans = np.array([[0, 10], [10, 60], [90, 100]])
    # of 10..30, the gap amid 27 is the only one in the second half; of 27..60, none is, and the rest is cut evenly
    parts = [[0, 10], [10, 27], [27, 43], [43, 60], [90, 100]]
    assert split_between_words(spans, start, end, 20).tolist() == parts
    # of 10..40, those amid 27 and 35.5 are; the second is wider
    assert split_between_words(spans, start, end, 30).tolist() == [[0, 10], [10, 35], [35, 60], [90, 100]]
    assert split_between_words(spans, start, end, 50).tolist() == spans.tolist()
    nothing = np.full(3, np.nan)
    assert split_between_words(spans, nothing, nothing, 25).tolist() == [[0, 10], [10, 35], [35, 60], [90, 100]]
    assert split_between_words(np.zeros((0, 2), np.int64), nothing, nothing, 25).shape == (0, 2)


def test_a_span_is_not_cut_in_a_long_word() -> None:
    """Between the middles of long words and their neighbours are the widest gaps, but no pauses."""
    lengths = np.array([100 if i % 8 == 7 else 20 for i in range(100)], dtype=float)
    end = np.cumsum(lengths)
    start = end - lengths
    start[50], end[50] = start[50] + 4, end[50] - 4  # a little room
    parts = split_between_words(np.array([[0, int(end[-1])]]), start, end, 1200)
    cuts = parts[1:, 0].astype(float)
    assert len(parts) >= 3
    assert not any(((start < cut - 1) & (cut + 1 < end)).any() for cut in cuts)


@pytest.mark.parametrize("seed", range(20))
def test_parts_of_spans_cover_them_and_are_short(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(5000, 20, replace=False)).reshape(-1, 2)
    longest = int(rng.integers(5, 400))
    middles, half = rng.uniform(0, 5000, 300), rng.uniform(0, 60, 300)
    middles[rng.random(300) < 0.2] = np.nan
    parts = split_between_words(edges, middles - half, middles + half, longest)
    lengths = parts[:, 1] - parts[:, 0]
    assert (lengths <= longest).all()
    whole = edges[edges[:, 1] - edges[:, 0] > longest]
    inside = [(b, e) for b, e in parts.tolist() if any(w[0] <= b and e <= w[1] for w in whole.tolist())]
    assert all(e - b >= longest // 4 for b, e in inside)  # no scraps
    covered = np.concatenate([np.arange(b, e) for b, e in parts])
    assert np.array_equal(covered, np.concatenate([np.arange(b, e) for b, e in edges]))
