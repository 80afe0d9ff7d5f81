"""Windows are merged so that no token is lost or doubled, whatever the errors at their edges."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lhotse_prep.audio.inspect import SAMPLE_RATE
from ml2021.asr.decode.config import LongFormConfig
from ml2021.asr.decode.long_form import windows_over_speech
from ml2021.asr.decode.merge_windows import merge, vote
from ml2021.asr.model.layers.encoder_frames import FRAME
from ml2021.asr.words.timed_word import TimedToken
from ml2021.asr.words.windows import Chunk


def overlapping_windows(num_frames: int) -> list[Chunk]:
    """Windows of 100 frames over speech without a pause, with 20 frames of context."""
    seconds = FRAME / SAMPLE_RATE
    config = LongFormConfig(chunk=100 * seconds, context=20 * seconds, max_silence=100.0)
    return windows_over_speech(np.array([[0, num_frames * FRAME]]), num_frames * FRAME, config)


def windows(tokens: list[TimedToken], num_frames: int, rng: random.Random, jitter: int, edge_noise: bool) -> list:
    """The tokens that windows of 100 frames with 20 frames of context would give."""
    decoded = []
    for chunk in overlapping_windows(num_frames):
        begin, end = chunk.begin // FRAME, chunk.end // FRAME
        emitted = []
        for t in tokens:
            if begin <= t.frame < end:
                at_edge = min(t.frame - begin, end - t.frame) < 5
                if edge_noise and at_edge and rng.random() < 0.5:
                    continue
                emitted.append(TimedToken(t.id, t.frame + rng.randint(-jitter, jitter), 1.0))
        if edge_noise:
            emitted += [TimedToken(999, frame, 0.1) for frame in (begin, end - 1) if rng.random() < 0.5]
        decoded.append((chunk, sorted(emitted, key=lambda t: t.frame)))
    return decoded


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("edge_noise", [False, True])
def test_merged_tokens_are_the_spoken_ones(seed: int, edge_noise: bool) -> None:
    rng = random.Random(seed)
    num_frames = rng.randint(1, 700)
    frames = sorted(rng.sample(range(num_frames), min(num_frames, rng.randint(0, num_frames // 6 + 1))))
    frames = [f for i, f in enumerate(frames) if i == 0 or f - frames[i - 1] >= 3]
    tokens = [TimedToken(rng.randint(3, 50), f, 1.0) for f in frames]
    merged = merge(windows(tokens, num_frames, rng, jitter=1, edge_noise=edge_noise))
    inner = [t for t in merged if t.id != 999]
    assert [t.id for t in inner] == [t.id for t in tokens if not lost_at_ends(t, num_frames, merged, edge_noise)]


def lost_at_ends(token: TimedToken, num_frames: int, merged: list[TimedToken], edge_noise: bool) -> bool:
    """Whether a token at an end of the lecture, which only one window covers, was lost by that window."""
    at_end = min(token.frame, num_frames - token.frame) < 5
    return edge_noise and at_end and not any(abs(t.frame - token.frame) <= 1 and t.id == token.id for t in merged)


def spoken(text: str, score: float = 1.0) -> list[TimedToken]:
    """Tokens with their frames from a text like `7@30 8@34`."""
    return [TimedToken(int(i), int(frame), score) for i, frame in (x.split("@") for x in text.split())]


@pytest.mark.parametrize(
    ("a", "b", "merged"),
    [
        ("1@10 2@40 3@70", "1@11 2@41 3@69", "1@10 2@40 3@69"),  # they agree: times of the deciding window
        ("1@10 2@49", "1@10 2@51", "1@10 2@51"),
        ("1@10 9@40 3@70", "1@10 2@41 3@70", "1@10 9@40 3@70"),  # a substitution before the seam: as in the first
        ("1@10 9@60 3@70", "1@10 2@61 3@70", "1@10 2@61 3@70"),  # after it: as in the second
        ("1@10 2@30 3@70", "1@10 3@70", "1@10 2@30 3@70"),  # the second lost a token near its edge
        ("1@10 3@70", "1@10 2@60 3@70", "1@10 2@60 3@70"),
        ("1@10 3@70", "8@2 1@10 3@70", "1@10 3@70"),  # the second has an error at its edge
        ("1@10 3@70 8@98", "1@10 3@70", "1@10 3@70"),
        ("5@20", "5@80", "5@20 5@80"),  # the same token at another time
        ("", "1@30 2@70", "2@70"),
        ("1@30 2@70", "", "1@30"),
        ("", "", ""),
    ],
)
def test_vote_by_hand(a: str, b: str, merged: str) -> None:
    assert vote(spoken(a), spoken(b), seam=50) == spoken(merged)


def test_windows_with_silence_between_them_keep_all_tokens() -> None:
    a, b = (
        Chunk(0, 1000 * FRAME + 5, 0, 1000 * FRAME + 5),
        Chunk(1200 * FRAME, 1300 * FRAME, 1200 * FRAME, 1300 * FRAME),
    )
    tokens = spoken("1@0 2@1000"), spoken("3@1200 4@1299")
    assert merge(list(zip((a, b), tokens))) == [*tokens[0], *tokens[1]]
    assert merge([]) == []


def test_windows_that_touch_in_a_pause_keep_all_tokens() -> None:
    a, b, c = (Chunk(i * 100 * FRAME, (i + 1) * 100 * FRAME, i * 100 * FRAME, (i + 1) * 100 * FRAME) for i in range(3))
    tokens = spoken("1@0 2@99"), spoken("3@100 4@199"), spoken("5@200")
    assert merge(list(zip((a, b, c), tokens))) == [*tokens[0], *tokens[1], *tokens[2]]


def test_a_context_that_reaches_beyond_the_next_window_is_not_used_there() -> None:
    a, b, c = (
        Chunk(0, 150 * FRAME, 0, 100 * FRAME),  # overlaps the next, which ends in a pause within its context
        Chunk(50 * FRAME, 140 * FRAME, 100 * FRAME, 140 * FRAME),
        Chunk(140 * FRAME, 240 * FRAME, 140 * FRAME, 240 * FRAME),
    )
    tokens = spoken("1@10 2@90 3@110 4@130 8@145"), spoken("2@90 3@110 4@130"), spoken("5@150")
    assert merge(list(zip((a, b, c), tokens))) == spoken("1@10 2@90 3@110 4@130 5@150")


def test_frames_never_decrease() -> None:
    chunks = overlapping_windows(200)
    tokens = spoken("1@10 2@99 3@104"), spoken("2@103 3@101 4@150")
    frames = [t.frame for t in merge(list(zip(chunks, tokens)))]
    assert frames == sorted(frames) and len(frames) == 4
