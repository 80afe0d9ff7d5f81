"""Every supervision is whole in exactly one window, windows keep their limits, and chunks cover every sample."""

from __future__ import annotations

import random

import numpy as np
import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.stretches import make_stretches
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.windows.config import WindowConfig
from lhotse_prep.windows.cut import make_windows, split_long
from lhotse_prep.workflow.errors import ConfigError

RATE = 16_000


def random_lecture(seed: int) -> tuple[Recording, list[SupervisionSegment]]:
    """A lecture of stretches of 1 to 40 words, some without a pause or with untimed words between them."""
    rng = random.Random(seed)
    time, token, stretches = rng.choice([0.0, 0.5]), 0, []
    for number in range(rng.randint(1, 30)):
        token += rng.choice([0, 0, 0, 2])
        items = []
        for _ in range(rng.choice([1, 5, 20, 40])):
            duration = rng.uniform(0.05, 0.6)
            items.append(AlignmentItem(rng.choice(["我", "的", "bert"]), round(time, 4), round(duration, 4), 0.9))
            time += duration + rng.choice([0.0, 0.0, 0.05])
        custom = {"first_token": token, "confidence": rng.choice([0.1, 0.9])}
        start, end = items[0].start, items[-1].end
        stretches.append(
            SupervisionSegment(
                f"l-{number:05d}",
                "l",
                start,
                round(end - start, 4),
                text=" ".join(i.symbol for i in items),
                alignment={"word": items},
                custom=custom,
            )
        )
        token += len(items)
        time += rng.choice([0.0, 0.3, 1.0, 4.0])
    num_samples = int((time + 1) * RATE)
    return Recording("l", [], RATE, num_samples, num_samples / RATE), stretches


def tokens_of(supervisions: list[SupervisionSegment]) -> list[str]:
    return [token for s in supervisions for token in (s.text or "").split()]


@pytest.mark.parametrize("seed", range(50))
def test_every_token_is_in_exactly_one_window_or_left_out(seed: int) -> None:
    recording, stretches = random_lecture(seed)
    config = WindowConfig(target_duration=8.0, max_duration=10.0)
    cuts, left_out = make_windows(recording, stretches, config, for_training=True)
    in_cuts = [s for c in cuts for s in c.supervisions]
    first_tokens = sorted((s.custom["first_token"], len(s.text.split())) for s in [*in_cuts, *left_out])
    covered = [first + i for first, count in first_tokens for i in range(count)]
    expected = [s.custom["first_token"] + i for s in stretches for i in range(len(s.text.split()))]
    assert covered == expected
    assert len({s.id for s in in_cuts}) == len(in_cuts)
    assert all(s.custom["confidence"] < config.min_confidence or s.duration < config.min_duration for s in left_out)


@pytest.mark.parametrize("seed", range(50))
def test_windows_keep_their_limits_and_hold_their_supervisions(seed: int) -> None:
    recording, stretches = random_lecture(seed)
    config = WindowConfig(target_duration=8.0, max_duration=10.0)
    cuts, left_out = make_windows(recording, stretches, config, for_training=False)
    assert not left_out
    assert tokens_of([s for c in cuts for s in c.supervisions]) == tokens_of(stretches)
    end = 0.0
    for cut in cuts:
        assert cut.duration <= config.max_duration + 1e-3
        assert cut.start >= end - 1e-3 and cut.end <= recording.duration + 1e-6
        assert cut.num_samples == round(cut.duration * RATE)
        end = cut.end
        for s in cut.supervisions:
            assert s.start >= -1e-3 and s.end <= cut.duration + 1e-3
        gaps = [b.start - a.end for a, b in zip(cut.supervisions, cut.supervisions[1:])]
        assert all(gap <= config.max_gap for gap in gaps)
        firsts = [(s.custom["first_token"], len(s.text.split())) for s in cut.supervisions]
        assert all(a + n == b for (a, n), (b, _) in zip(firsts, firsts[1:]))


@pytest.mark.parametrize("seed", range(40))
def test_every_timed_word_of_a_random_alignment_is_in_a_window_at_its_time(seed: int) -> None:
    """From word times to windows: each timed word once, in order, at its time; no word without a time."""
    rng = np.random.default_rng(seed)
    num_words = int(rng.integers(1, 300))
    start = np.cumsum(rng.exponential(0.3, num_words) + (rng.random(num_words) < 0.05) * rng.uniform(1, 8, num_words))
    end = start + rng.uniform(0.02, 0.4, num_words)
    unspoken = rng.random(num_words) < rng.choice([0.0, 0.1, 0.5])
    unspoken[0] = False
    start[unspoken] = end[unspoken] = np.nan
    duration = float(np.nanmax(end)) + 1
    lecture = SupervisionSegment("l", "l", 0.0, duration, text=" ".join(f"w{i}" for i in range(num_words)))
    regions = np.array([[0.0, duration]])
    times = WordTimes(start, end, rng.random(num_words))
    stretches = make_stretches(lecture, times, regions, StretchConfig())
    recording = Recording("l", [], RATE, int(duration * RATE), int(duration * RATE) / RATE)
    config = WindowConfig(target_duration=8.0, max_duration=10.0)
    cuts, left_out = make_windows(recording, stretches, config, for_training=bool(seed % 2))
    in_windows, not_in_windows = tokens_of([s for c in cuts for s in c.supervisions]), tokens_of(left_out)
    timed = [f"w{i}" for i in np.flatnonzero(~unspoken)]
    assert sorted(in_windows + not_in_windows) == sorted(timed)
    assert in_windows == [w for w in timed if w in set(in_windows)]
    assert seed % 2 or all(s.duration < 0.1 for s in left_out)  # only windows of a few frames
    for cut in cuts:
        assert cut.duration <= config.max_duration + 1e-3
        for s in cut.supervisions:
            assert s.start >= 0 and s.end <= cut.duration + 1e-3
            for item in s.alignment["word"]:
                assert item.start == pytest.approx(start[int(item.symbol[1:])], abs=0.05)
                assert cut.start - 1e-3 <= item.start and item.end <= cut.end + 1e-3


def test_words_stay_where_they_were_in_the_recording() -> None:
    recording, stretches = random_lecture(3)
    cuts, _ = make_windows(recording, stretches, WindowConfig(), for_training=False)
    spoken = [i for s in stretches for i in s.alignment["word"]]  # alignments count from the start of the recording
    assert [i for c in cuts for s in c.supervisions for i in s.alignment["word"]] == spoken
    begins = [c.start + s.start for c in cuts for s in c.supervisions]
    assert begins == pytest.approx([s.alignment["word"][0].start for c in cuts for s in c.supervisions], abs=1e-3)
    assert isinstance(cuts, CutSet) and all(isinstance(c, MonoCut) and c.recording_id == "l" for c in cuts)


@pytest.mark.parametrize("seed", range(10))
def test_lhotse_can_trim_and_divide_the_cuts(seed: int) -> None:
    recording, stretches = random_lecture(seed)
    cuts, _ = make_windows(recording, stretches, WindowConfig(), for_training=False)
    trimmed = cuts.trim_to_supervisions(keep_overlapping=False)
    assert [t.supervisions[0].text for t in trimmed] == [s.text for c in cuts for s in c.supervisions]
    for cut in trimmed:
        (s,) = cut.supervisions
        assert cut.recording_id == "l" and s.start == pytest.approx(0, abs=1e-3)
        assert cut.start == pytest.approx(s.alignment["word"][0].start, abs=1e-3)
        assert cut.duration == pytest.approx(s.duration, abs=1e-3)
    words = [w for c in cuts for w in c.trim_to_alignments("word")]
    assert [w.supervisions[0].text for w in words] == tokens_of(stretches)
    times = [i.start for s in stretches for i in s.alignment["word"]]
    assert [w.start for w in words] == pytest.approx(times, abs=1e-3)
    assert sum(c.duration for c in cuts.cut_into_windows(3.0)) == pytest.approx(sum(c.duration for c in cuts), abs=0.05)
    cuts.describe()


def test_supervisions_of_low_confidence_are_left_out_of_training() -> None:
    recording, stretches = random_lecture(4)
    low = [s.id for s in stretches if s.custom["confidence"] < 0.3]
    cuts, left_out = make_windows(recording, stretches, WindowConfig(min_duration=0.01), for_training=True)
    assert low and {s.id.rstrip("ab") for s in left_out} == set(low)
    all_cuts, none_left_out = make_windows(
        recording, stretches, WindowConfig(min_duration=0.01, min_confidence=0.0), for_training=True
    )
    assert not none_left_out and len(tokens_of([s for c in all_cuts for s in c.supervisions])) == len(
        tokens_of(stretches)
    )


def test_long_stretch_is_split_at_its_widest_gap() -> None:
    items = [AlignmentItem("我", t, 0.5, 0.8) for t in (0.0, 0.5, 1.3, 1.8)]
    stretch = SupervisionSegment(
        "s", "l", 0.0, 2.3, text="我 我 我 我", alignment={"word": items}, custom={"first_token": 7, "confidence": 0.8}
    )
    parts = split_long(stretch, 1.5)
    assert [(p.id, p.start, p.end, p.custom["first_token"]) for p in parts] == [
        ("sa", 0.0, 1.0, 7),
        ("sb", 1.3, 2.3, 9),
    ]


def test_config_error_names_the_field() -> None:
    with pytest.raises(ConfigError, match="max_duration"):
        WindowConfig(target_duration=20.0, max_duration=10.0)


def test_window_of_too_few_frames_is_left_out_and_returned() -> None:
    recording = Recording("l", [], RATE, RATE, 1.0)
    spans = [(0.0, 0.5), (0.5, 0.51), (0.51, 1.0)]
    stretches = [
        SupervisionSegment(f"l-{i}", "l", a, b - a, text="我", custom={"first_token": 2 * i, "confidence": 1.0})
        for i, (a, b) in enumerate(spans)
    ]
    cuts, left_out = make_windows(recording, stretches, WindowConfig(), for_training=False)
    assert [c.supervisions[0].id for c in cuts] == ["l-0", "l-2"] and [s.id for s in left_out] == ["l-1"]
