"""Windows over a lecture's speech, words with times, and memory that does not depend on the lecture's length."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import HANGOVER
from lhotse_prep.tokens.config import LangConfig
from lhotse_prep.tokens.lang import make_lang
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.decode import long_form
from ml2021.asr.decode.config import DecodeConfig, LongFormConfig
from ml2021.asr.decode.long_form import batches_by_duration, recognise, windows_over_speech, words_of
from ml2021.asr.model.layers.encoder_frames import FRAME
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.words.timed_word import TimedToken
from ml2021.asr.words.windows import EARLIEST, Chunk


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("max_silence", [0.0, 5.0, 20.0])
def test_windows_keep_all_speech_once_and_long_silences_not(seed: int, max_silence: float) -> None:
    rng = random.Random(seed)
    config = LongFormConfig(chunk=rng.choice([4.0, 16.0]), context=rng.choice([0.0, 1.0, 2.0]), max_silence=max_silence)
    edges = sorted(rng.sample(range(200 * SAMPLE_RATE), 2 * rng.randint(1, 8)))
    regions = np.array(edges).reshape(-1, 2)
    num_samples = edges[-1] + rng.randint(0, 30 * SAMPLE_RATE)
    windows = windows_over_speech(regions, num_samples, config)
    kept = np.zeros(num_samples, dtype=np.int8)
    for w in windows:
        assert w.begin % FRAME == 0 and 0 <= w.begin <= w.keep_begin < w.keep_end <= w.end <= num_samples
        kept[w.keep_begin : w.keep_end] += 1
    assert kept.max() == 1 and all(kept[a:b].all() for a, b in regions)
    pauses = [(a, b) for (_, a), (b, _) in zip(regions, regions[1:]) if b - a >= StretchConfig.min_pause * SAMPLE_RATE]
    context = int(config.context * SAMPLE_RATE) // FRAME * FRAME
    ends = [w.end for w, after in zip(windows, [*windows[1:], None]) if after is None or w.keep_end < after.keep_begin]
    for w, after in zip(windows, windows[1:]):
        assert w.keep_end - w.keep_begin <= config.chunk * SAMPLE_RATE
        if w.keep_end != after.keep_begin:
            continue  # a silence that is not decoded
        if (in_pause := any(a - FRAME <= w.keep_end <= b for a, b in pauses)) and w.end == w.keep_end:
            assert after.begin == w.keep_end
        else:
            assert after.begin == w.keep_end - context and w.end in (w.keep_end + context, *ends)
            first = w.keep_begin + EARLIEST * config.chunk * SAMPLE_RATE + FRAME
            assert in_pause or not any(first <= (a + b) // 2 <= w.keep_end - FRAME for a, b in pauses)
    for (_, a), (b, _) in zip(regions, regions[1:]):
        gap_kept = bool(kept[a:b].all())
        assert gap_kept or b - a > max_silence * SAMPLE_RATE - 3 * FRAME
        assert not gap_kept or max_silence == 0 or b - a <= max_silence * SAMPLE_RATE + 3 * FRAME
    assert (kept.sum() == num_samples) or max_silence > 0


def test_a_window_ends_in_a_pause_and_overlaps_where_there_is_none() -> None:
    config = LongFormConfig(chunk=10.0, context=1.0, max_silence=8.0)
    speech = [(0.0, 3.0), (5.0, 6.0), (6.6, 8.0), (8.3, 22.0), (22.4, 28.0)]
    regions = np.array([[int(x * SAMPLE_RATE) for x in stretch] for stretch in speech])
    windows = windows_over_speech(regions, regions[-1, 1], config)
    spans = [tuple(round(x / SAMPLE_RATE, 2) for x in (w.begin, w.end, w.keep_begin, w.keep_end)) for w in windows]
    # the pause at 3 s is too early, that at 8 s too narrow
    assert spans == [
        (0.0, 6.28, 0.0, 6.28),
        (6.28, 17.28, 6.28, 16.28),
        (15.28, 22.2, 16.28, 22.2),
        (22.2, 28.0, 22.2, 28.0),
    ]


@pytest.mark.parametrize("chunk", [0.01, 0.04, 0.08, 0.1, 0.12, 0.5])
def test_chunks_of_a_few_frames_come_to_an_end(chunk: float) -> None:
    regions = np.array([[0, 20_000], [26_000, 30_000], [36_000, 40_000]])
    windows = windows_over_speech(regions, 40_000, LongFormConfig(chunk=chunk, context=0.0))
    assert all(w.keep_begin < w.keep_end for w in windows)
    assert [w.keep_begin for w in windows[1:]] == [w.keep_end for w in windows[:-1]]


def test_silence_shorter_than_the_context_cannot_be_left_out() -> None:
    with pytest.raises(ConfigError, match="max_silence"):
        LongFormConfig(context=2.0, max_silence=4.0)
    for key in ("chunk", "context", "max_silence"):
        with pytest.raises(ConfigError, match=f"{key} must be a finite number"):
            LongFormConfig(**{key: float("inf")})


def test_batches_are_of_neighbours_and_not_too_long() -> None:
    seconds = [20, 20, 3, 20, 1, 1, 1, 70, 5]
    chunks = [Chunk(0, s * SAMPLE_RATE, 0, s * SAMPLE_RATE) for s in seconds]
    batches = batches_by_duration(chunks, 60.0)
    assert [c for batch in batches for c in batch] == chunks
    assert [[c.end // SAMPLE_RATE for c in b] for b in batches] == [[20, 20, 3], [20, 1, 1], [1], [70], [5]]


def table_of(folder: Path) -> TokenTable:
    return make_lang(["我 們"], [], folder, LangConfig())


def fake_search(table: TokenTable):  # type: ignore[no-untyped-def]
    """A recogniser of clicks: it emits a token at each loud frame after a quiet one."""

    def search(model, features, lens, config, fusion):  # type: ignore[no-untyped-def]
        hypotheses = []
        for x, n in zip(features.numpy(), lens.tolist()):
            loud = x[:n].max(axis=1)[: n // 4 * 4].reshape(-1, 4).max(axis=1) > 0
            frames = np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]])).tolist()
            hypotheses.append(Hypothesis((table.ids["我"],) * len(frames), tuple(frames), (0.9,) * len(frames)))
        return hypotheses

    return search


def write_clicks(path: Path, times: list[float], seconds: int) -> None:
    rng = np.random.default_rng(0)
    with sf.SoundFile(str(path), "w", SAMPLE_RATE, 1, "PCM_16") as f:
        for second in range(seconds):
            samples = np.zeros(SAMPLE_RATE)
            for t in times:
                if second <= t < second + 1:
                    at = int((t - second) * SAMPLE_RATE)
                    samples[at : at + 1600] = 0.5 * rng.standard_normal(len(samples[at : at + 1600]))
            f.write(samples)


def one_stretch(blocks):  # type: ignore[no-untyped-def]
    return np.array([[0, sum(len(b) for b in blocks)]])


def test_words_of_a_lecture_come_out_once_at_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    times = [round(t + rng.random() * 0.4, 2) for t in np.arange(0.2, 88.0, 0.8)]  # some at every seam
    write_clicks(tmp_path / "a.wav", times, 90)
    table = table_of(tmp_path / "lang")
    monkeypatch.setattr(long_form, "search", fake_search(table))
    monkeypatch.setattr(long_form, "speech_stretches", one_stretch)
    config = DecodeConfig(long_form=LongFormConfig(chunk=8.0, context=2.0), max_duration=30.0)
    words = recognise(tmp_path / "a.wav", torch.nn.Linear(1, 1), table, config)  # type: ignore[arg-type]
    assert len(words) == len(times)
    assert all(abs(w.tokens[0].frame * 0.04 - t) < 0.09 for w, t in zip(words, times))


def test_memory_is_that_of_a_short_lecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allocations of Python and NumPy are traced: samples, features and words."""
    table = table_of(tmp_path / "lang")
    monkeypatch.setattr(long_form, "search", fake_search(table))
    monkeypatch.setattr(long_form, "speech_stretches", one_stretch)
    config = DecodeConfig(long_form=LongFormConfig(), max_duration=40.0)
    peaks = []
    for seconds in (100, 600):
        write_clicks(tmp_path / "a.wav", [1.0, seconds - 1.0], seconds)
        tracemalloc.start()
        recognise(tmp_path / "a.wav", torch.nn.Linear(1, 1), table, config)  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] and peaks[0] > 1e6


def test_recording_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path / "lang")
    (tmp_path / "x.wav").write_text("no audio")
    sf.write(tmp_path / "stereo.wav", np.zeros((100, 2)), SAMPLE_RATE)
    sf.write(tmp_path / "slow.wav", np.zeros(100), 8000)
    sf.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    sf.write(tmp_path / "nan.wav", np.full(SAMPLE_RATE, np.nan), SAMPLE_RATE, subtype="FLOAT")
    for name, message in (
        ("x", "cannot be read"),
        ("none", ""),
        ("stereo", "2 channels"),
        ("slow", "8000 Hz"),
        ("silent", "no speech"),
        ("nan", "samples that are not numbers, first at 0.00 s"),
    ):
        with pytest.raises(DataError, match=f"{name}.wav.*{message}" if message else f"no such recording.*{name}.wav"):
            recognise(tmp_path / f"{name}.wav", None, table, replace(DecodeConfig()))  # type: ignore[arg-type]


def test_words_have_times_and_pieces_are_joined(tmp_path: Path) -> None:
    table = make_lang(["我 們 bert learning bert learning"], [], tmp_path, LangConfig(num_english_pieces=17))
    ids = table.encode("我 learning 們 bert")
    assert len(ids) > 4  # some word is in pieces
    tokens = [TimedToken(i, 10 * n, 0.5) for n, i in enumerate(ids)]
    regions = np.array([[-2, 18], [27, len(ids) * 10 + 5]]) * FRAME  # a pause before the third token
    words = words_of(tokens, table, regions)
    assert [w.text for w in words] == ["我", "learning", "們", "bert"]
    assert all(a.end <= b.start for a, b in zip(words, words[1:])) and all(w.end > w.start for w in words)
    assert words[0].start == pytest.approx(-0.08) and words[0].end == words[1].start == pytest.approx(0.4)
    assert words[-1].end == pytest.approx((len(ids) * 10 + 5) * 0.04 - HANGOVER)


def test_pause_between_words_is_the_silence_between_stretches(tmp_path: Path) -> None:
    table = make_lang(["我 們"], [], tmp_path, LangConfig())
    tokens = [TimedToken(i, frame, 0.5) for i, frame in zip(table.encode("我 們"), (10, 40))]
    first, second = words_of(tokens, table, np.array([[5, 15], [35, 50]]) * FRAME)
    assert (first.start, first.end) == pytest.approx((0.2, 0.6 - HANGOVER))
    assert (second.start, second.end) == pytest.approx((1.4, 2.0 - HANGOVER))


def test_word_long_after_the_onset_of_speech_stays_where_it_is_emitted(tmp_path: Path) -> None:
    """Speech from 0 s to 20 s, of which only what is said at 9 s is recognised: the rest may be anything."""
    table = make_lang(["我 們"], [], tmp_path, LangConfig())
    (word,) = words_of([TimedToken(table.ids["我"], 225, 0.5)], table, np.array([[0, 20]]) * SAMPLE_RATE)
    assert (word.start, word.end) == pytest.approx((9.0, 10.5))
    (near,) = words_of([TimedToken(table.ids["我"], 12, 0.5)], table, np.array([[0, 20]]) * SAMPLE_RATE)
    assert (near.start, near.end) == pytest.approx((0.0, 1.5))
    (far,) = words_of([TimedToken(table.ids["我"], 13, 0.5)], table, np.array([[0, 20]]) * SAMPLE_RATE)
    assert (far.start, far.end) == pytest.approx((0.52, 2.02))


@pytest.mark.parametrize("seed", range(20))
def test_words_are_in_order_and_no_character_lasts_longer_than_the_limit(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    table = make_lang(["我 們"], [], tmp_path, LangConfig())
    frames = np.sort(rng.integers(0, 2000, 60)).tolist()
    regions = np.sort(rng.choice(2100 * FRAME, 20, replace=False)).reshape(-1, 2)
    words = words_of([TimedToken(table.ids["我"], frame, 0.5) for frame in frames], table, regions)
    assert all(a.end <= b.start for a, b in zip(words, words[1:]))
    for word, frame in zip(words, frames, strict=True):
        assert 0 <= frame * 0.04 - word.start <= 0.5 + 1e-9
        assert 0 <= word.end - word.start <= 1.5 + 1e-9
