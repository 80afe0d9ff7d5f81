"""Sound keeps its place: the gate's output against the true times of syllables, in every container."""

from __future__ import annotations

import logging
import random
import re
from pathlib import Path

import av
import numpy as np
import pytest

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.convert import store_audio
from lhotse_prep.audio.decode import Frame, Track
from lhotse_prep.audio.inspect import AudioError
from lhotse_prep.audio.timeline import Timeline

CONTAINERS = [  # suffix, container, codec, whether time is counted from 0
    ("mp4", "mp4", "aac", True),
    ("m4a", "ipod", "alac", True),
    ("mov", "mov", "aac", True),
    ("mkv", "matroska", "aac", True),
    ("mkv", "matroska", "pcm_s16le", True),
    ("webm", "webm", "libopus", True),
    ("flv", "flv", "aac", True),
    ("ogg", "ogg", "libopus", False),
    ("ts", "mpegts", "aac", False),
]


@pytest.mark.parametrize(("suffix", "container", "codec", "from_zero"), CONTAINERS)
@pytest.mark.parametrize("seed", range(2))
def test_a_late_start_and_holes_become_silence(
    sound, tmp_path: Path, caplog, suffix: str, container: str, codec: str, from_zero: bool, seed: int
) -> None:
    rng = random.Random(f"{suffix} {codec} {seed}")
    first = rng.uniform(0.2, 3.0) if from_zero else 0.0
    holes = [(rng.uniform(0.7, 2.5), rng.uniform(0.1, 2.0)), (rng.uniform(3.0, 4.0), rng.uniform(0.1, 0.5))][seed:]
    path = tmp_path / f"x.{suffix}"
    options = {"page_duration": "20000"} if container == "ogg" else {}  # the times of Ogg are those of its pages
    samples = sound.talk(5, 48_000)
    sound.encode(path, samples, 48_000, codec, container=container, first=first, holes=holes, container_options=options)
    with caplog.at_level(logging.INFO):
        samples = sound.passed(path)
    size = 0.025  # seconds of a packet that a hole lies between
    shifts = []
    for begin in np.arange(0, 4.5, 0.25):
        if any(begin - 0.25 - size < at < begin + 0.25 + size for at, _ in holes):
            continue
        expected = begin + first + sum(length for at, length in holes if at < begin)
        at, correlation = sound.place(samples, sound.talk(5)[int(begin * 16000) :][:4000], round(expected * 16000))
        assert correlation > 0.8
        shifts.append(at / 16000 - expected)
    assert len(shifts) > 5 and np.abs(shifts).max() < 0.03  # a frame of an encoder's delay
    assert "of silence put in at" in caplog.text and "where its timestamps leave a hole" in caplog.text


def test_a_delay_of_the_encoder_is_taken_away(sound, tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "aac"), ("a.mp3", "libmp3lame"), ("a.webm", "libopus"), ("a.ogg", "libopus")):
        path = sound.encode(tmp_path / name, sound.talk(3, 48_000), 48_000, codec)
        assert np.abs(sound.offsets(sound.passed(path), sound.talk(3))).max() < 0.002, name


def test_a_lecture_in_a_video_starts_when_the_video_does(sound, tmp_path: Path) -> None:
    path = sound.encode(tmp_path / "a.ts", sound.talk(3, 48_000), 48_000, "aac", first=1.5, video=True)
    assert np.abs(sound.offsets(sound.passed(path), sound.talk(3), lambda t: t + 1.5)).max() < 0.05


RATE = 1000


def placed(frames: list[tuple[float | None, int]], restarts: bool = False, max_hours: float = 10.0) -> np.ndarray:
    """Where the samples of frames (time, number) end up: their numbers from 1 on, 0 is silence."""
    number = 0
    made_of = []
    for time, count in frames:
        made_of.append(Frame(time, RATE, np.arange(number + 1, number + count + 1, dtype=np.float32)[None]))
        number += count
    timeline = Timeline(Track(Path("x.mp4"), restarts=restarts), AudioLimits(max_hours=max_hours))
    blocks = [samples[0] for _, samples in timeline.place(made_of)]
    placed.notes = timeline.notes()  # type: ignore[attr-defined]
    return np.concatenate(blocks) if blocks else np.zeros(0)


@pytest.mark.parametrize("seed", range(60))
def test_every_sample_is_where_its_timestamp_says(seed: int) -> None:
    """Random frames with rounding of up to 10 ms, holes and a start before or after 0."""
    rng = random.Random(seed)
    time = rng.choice([-0.3, -0.02, 0.0, 0.4, 7.0])
    frames, truth = [], {}
    number = 0
    for _ in range(50):
        count = rng.randint(10, 90)
        if rng.random() < 0.1:
            time += rng.uniform(0.2, 30)
        frames.append((time + rng.uniform(-0.005, 0.005), count))
        truth |= {number + i + 1: time + i / RATE for i in range(count)}
        time, number = time + count / RATE, number + count
    result = placed(frames)
    positions = {int(v): i / RATE for i, v in enumerate(result) if v}
    assert len(result) == pytest.approx(time * RATE, abs=20)
    off = [abs(position - truth[v]) for v, position in positions.items()]
    assert max(off) < 0.02
    missing = sorted(set(truth) - set(positions))
    assert all(truth[v] < 0.02 for v in missing)  # what lies before the beginning, and nothing else


def test_rounded_and_single_wrong_timestamps_make_no_click() -> None:
    frames = [(i * 0.1 + (0.02 if i % 2 else 0.0), 100) for i in range(50)]
    frames[20] = (2.0 + 0.9, 100)
    frames[30] = (3.0 - 0.4, 100)
    assert list(placed(frames)) == list(range(1, 5001))
    assert placed.notes == []  # type: ignore[attr-defined]


def test_a_slow_drift_is_followed_and_a_contradiction_refused() -> None:
    frames = [(i * 0.1 * 1.001, 100) for i in range(2000)]
    assert len(placed(frames)) == pytest.approx(200_200, abs=60)
    frames = [(i * 0.1 * 0.999, 100) for i in range(2000)]
    assert len(placed(frames)) == pytest.approx(199_800, abs=60)
    for speed in (0.9, 1.1):
        with pytest.raises(AudioError, match="its timestamps and its samples drift apart by"):
            placed([(i * 0.1 * speed, 100) for i in range(100)])


def test_overlaps_are_left_out_once_and_said() -> None:
    result = placed([(0.0, 1000), (0.9, 1000), (1.9, 1000)])
    assert [int(x) for x in result[[999, 1000]]] == [1000, 1101] and len(result) == 2900
    assert placed.notes == ["0.10 s left out from 1.00 s on, where its timestamps overlap"]  # type: ignore[attr-defined]


def test_a_clock_that_goes_back_is_an_error_unless_it_may_begin_again() -> None:
    frames = [(0.0, 1000), (1.0, 1000), (0.0, 1000), (1.0, 1000)]
    with pytest.raises(AudioError, match=r"x\.mp4: its timestamps go back by 2\.00 s at 2\.00 s; write it again"):
        placed(frames)
    assert list(placed(frames, restarts=True)) == list(range(1, 4001))
    assert "its clock begins again" in placed.notes[0]  # type: ignore[attr-defined]


def test_absurd_jumps_are_refused_before_silence_fills_the_disk() -> None:
    with pytest.raises(AudioError, match=r"its timestamps jump from 1\.00 s by 277\.8 h, more than max_hours allows"):
        placed([(0.0, 1000), (1e6, 1000), (1e6 + 1, 1000)])
    with pytest.raises(AudioError, match=r"its timestamps jump from 1\.00 s by 7199 s"):
        placed([(0.0, 1000), (7200.0, 1000), (7201.0, 1000)], restarts=True)


def test_mp4_with_an_edit_list_is_trimmed(sound, tmp_path: Path, caplog) -> None:
    """An edit that leaves out the first second, as a telephone writes it when a recording is trimmed."""
    path = sound.encode(tmp_path / "a.mp4", sound.talk(4, 48_000), 48_000, "aac")
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12  # duration, time in the track, rate of the first edit
    assert int.from_bytes(content[at + 4 : at + 8], "big") == 1024
    with av.open(str(path)) as container:
        timescale = 1000 if container.duration else 0
    duration = int.from_bytes(content[at : at + 4], "big") - timescale
    content[at : at + 8] = duration.to_bytes(4, "big") + (1024 + 48_000).to_bytes(4, "big")
    path.write_bytes(content)
    samples = sound.passed(path)
    assert np.abs(sound.offsets(samples, sound.talk(4)[16_000:])).max() < 0.03
    with caplog.at_level("INFO"):
        store_audio(path, tmp_path, "x", AudioLimits())
    assert re.search(r"(0\.9.|1\.0.) s left out by its edit list", caplog.text)
