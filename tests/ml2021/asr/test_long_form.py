"""Whole lectures: windows are merged so that no token is lost or doubled, whatever the windows heard at their edges."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from lhotse_prep.prep_config import LangConfig
from lhotse_prep.tokens import make_lang
from lhotse_prep.windows import decoding_chunks
from ml2021.asr.long_form import FRAME, TimedToken, merge, words_of


def windows(tokens: list[TimedToken], num_frames: int, rng: random.Random, jitter: int, edge_noise: bool) -> list:
    """What windows of 100 frames with 20 frames of context would give of the true tokens."""
    decoded = []
    for chunk in decoding_chunks(num_frames * FRAME, 100 * FRAME, 20 * FRAME):
        begin, end = chunk.begin // FRAME, chunk.end // FRAME
        heard = []
        for t in tokens:
            if begin <= t.frame < end:
                at_edge = min(t.frame - begin, end - t.frame) < 5
                if edge_noise and at_edge and rng.random() < 0.5:
                    continue
                heard.append(TimedToken(t.id, t.frame + rng.randint(-jitter, jitter), 1.0))
        if edge_noise:
            heard += [TimedToken(999, frame, 0.1) for frame in (begin, end - 1) if rng.random() < 0.5]
        decoded.append((chunk, sorted(heard, key=lambda t: t.frame)))
    return decoded


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("edge_noise", [False, True])
def test_merged_tokens_are_the_spoken_ones(seed: int, edge_noise: bool) -> None:
    rng = random.Random(seed)
    num_frames = rng.randint(1, 700)
    frames = sorted(rng.sample(range(num_frames), min(num_frames, rng.randint(0, num_frames // 6 + 1))))
    frames = [f for i, f in enumerate(frames) if i == 0 or f - frames[i - 1] >= 3]
    tokens = [TimedToken(rng.randint(3, 50), f, 1.0) for f in frames]
    found = merge(windows(tokens, num_frames, rng, jitter=1, edge_noise=edge_noise))
    inner = [t for t in found if t.id != 999]
    assert [t.id for t in inner] == [t.id for t in tokens if not lost_at_ends(t, num_frames, found, edge_noise)]


def lost_at_ends(token: TimedToken, num_frames: int, found: list[TimedToken], edge_noise: bool) -> bool:
    """The ends of the lecture itself are heard by one window only: what it lost there stays lost."""
    at_end = min(token.frame, num_frames - token.frame) < 5
    return edge_noise and at_end and not any(abs(t.frame - token.frame) <= 1 and t.id == token.id for t in found)


def test_words_have_times_and_pieces_are_joined(tmp_path: Path) -> None:
    table = make_lang(["我 們 bert learning bert learning"], [], tmp_path, LangConfig(num_english_pieces=14))
    ids = table.encode("我 learning 們 bert")
    assert len(ids) > 4  # some word is in pieces
    tokens = [TimedToken(i, 10 * n, 0.5) for n, i in enumerate(ids)]
    regions = np.array([[-2, 18], [27, len(ids) * 10 + 5]]) * FRAME  # a pause before the third token
    words = words_of(tokens, table, regions)
    assert [w.text for w in words] == ["我", "learning", "們", "bert"]
    assert all(a.end <= b.start for a, b in zip(words, words[1:])) and all(w.end > w.start for w in words)
    assert words[0].start == pytest.approx(-0.08) and words[0].end == words[1].start == pytest.approx(0.4)
    assert words[-1].end == pytest.approx((len(ids) * 10 + 5) * 0.04)


def test_pause_between_words_is_the_silence_between_stretches(tmp_path: Path) -> None:
    table = make_lang(["我 們"], [], tmp_path, LangConfig())
    tokens = [TimedToken(i, frame, 0.5) for i, frame in zip(table.encode("我 們"), (10, 40))]
    first, second = words_of(tokens, table, np.array([[5, 15], [35, 50]]) * FRAME)
    assert (first.start, first.end) == pytest.approx((0.2, 0.6))
    assert (second.start, second.end) == pytest.approx((1.4, 2.0))
