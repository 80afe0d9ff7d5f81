"""The aligner compared with an enumeration of all paths, a plain dynamic program, and torchaudio's forced_align."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchaudio.functional import forced_align

from lhotse_prep.alignment.search import best_path, lanes, rows
from lhotse_prep.alignment.search.align import align
from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.search.frame_reader import BLOCK, FrameReader
from lhotse_prep.alignment.search.states import NEVER, Text
from lhotse_prep.workflow.errors import DataError

LANES = 32  # in place of the search's own number: its seams in short texts
BLANK, STAR = -1, -2  # labels of frames without a unit
Costs = tuple[float | None, float, float | None]  # star_penalty, star_opening, skip_cost
PLAIN: Costs = (None, 0.0, None)
ALL_COSTS: list[Costs] = [
    PLAIN,
    (0.7, 0.0, None),
    (0.7, 1.2, None),
    (None, 0.0, 1.5),
    (0.7, 0.0, 1.5),
    (0.7, 0.9, 1.5),
    (0.1, 0.03, 0.05),
]


def random_log_probs(seed: int, num_frames: int, num_symbols: int, sharpness: float = 2.0) -> NDArray[np.float32]:
    logits = sharpness * np.random.default_rng(seed).normal(size=(num_frames, num_symbols))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def star_scores(log_probs: NDArray[np.float32], star_penalty: float | None) -> NDArray[np.float64]:
    if star_penalty is None:
        return np.full(len(log_probs), -np.inf)
    return np.maximum(log_probs[:, 0], log_probs.max(axis=1) - star_penalty).astype(np.float64)


def path_score(labels: tuple[int, ...], log_probs: NDArray[np.float32], units: list[int], costs: Costs) -> float:
    """Score of a path, given as each frame's unit of the text, BLANK or STAR; -inf if it is not a path of the text."""
    star_penalty, star_opening, skip_cost = costs
    scores = {BLANK: log_probs[:, 0], STAR: star_scores(log_probs, star_penalty)}
    total = sum(float(scores[u][t] if u < 0 else log_probs[t, units[u]]) for t, u in enumerate(labels))
    total -= star_opening * sum(u == STAR != before for before, u in zip((BLANK, *labels), labels, strict=False))
    at, was_blank = -1, False  # the last unit, and whether a blank followed it
    for u in (*labels, len(units)):
        if u < 0:
            was_blank = True
            continue
        last = u == len(units)
        if u == at and not was_blank:
            continue
        skipped = u - at - 1
        if u <= at or (skipped and (not was_blank or skip_cost is None)):
            return -np.inf
        if not last and at >= 0 and not was_blank and units[u] == units[at]:
            return -np.inf
        total -= skipped * (skip_cost or 0.0)
        at, was_blank = u, False
    return total


def labels_of(alignment: Alignment, num_frames: int) -> tuple[int, ...]:
    labels = [STAR if star else BLANK for star in alignment.star]
    assert len(labels) == num_frames
    for u, (start, end) in enumerate(zip(alignment.start, alignment.end, strict=True)):
        assert (start < 0) == (end < 0)
        for t in range(start, end):
            assert labels[t] == BLANK
            labels[t] = u
    return tuple(labels)


def best_score(log_probs: NDArray[np.float32], units: list[int], costs: Costs) -> float:
    """A plain dynamic program over the same paths, in double precision."""
    star_penalty, star_opening, skip_cost = costs
    star = star_scores(log_probs, star_penalty)
    num_units = len(units)
    blank_row, star_row, label_row = (np.full(num_units + 1, -np.inf) for _ in range(3))  # blanks, stars: before a unit
    blank_row[0] = 0.0
    for t in range(len(log_probs)):
        old_label = np.append(-np.inf, label_row)  # [u] is of the unit before
        new_star = np.maximum(star_row, np.maximum(blank_row, old_label[:-1]) - star_opening) + star[t]
        new_blank = np.maximum(np.maximum(blank_row, star_row), old_label[:-1]) + log_probs[t, 0]
        for u in range(1, num_units + 1 if skip_cost is not None else 0):
            new_star[u] = max(new_star[u], new_star[u - 1] - skip_cost)
            new_blank[u] = max(new_blank[u], new_blank[u - 1] - skip_cost)
        new_label = np.full(num_units + 1, -np.inf)
        for u in range(num_units):
            direct = old_label[u] if u and units[u] != units[u - 1] else -np.inf
            new_label[u] = max(label_row[u], blank_row[u], star_row[u], direct) + log_probs[t, units[u]]
        blank_row, star_row, label_row = new_blank, new_star, new_label
    return max(blank_row[-1], star_row[-1], label_row[-2])


@pytest.mark.parametrize("costs", ALL_COSTS)
@pytest.mark.parametrize("units", [[1], [1, 2], [1, 1], [2, 2, 2], [1, 2, 1], [3, 3, 1]])
def test_best_of_all_paths(units: list[int], costs: Costs) -> None:
    for seed, num_frames in enumerate((1, 2, 3, 4, 5, 6)):
        log_probs = random_log_probs(seed, num_frames, 4)
        least = BLANK if costs[0] is None else STAR
        every = itertools.product(range(least, len(units)), repeat=num_frames)
        scores = {labels: path_score(labels, log_probs, units, costs) for labels in every}
        best = max(scores.values())
        if best == -np.inf:
            with pytest.raises(DataError, match="do not fit"):
                align(log_probs, np.array(units), "week1", *costs)
            continue
        alignment = align(log_probs, np.array(units), "week1", *costs)
        assert alignment.total == pytest.approx(best, abs=1e-4)
        assert scores[labels_of(alignment, num_frames)] == pytest.approx(best, abs=1e-4)
        assert best_score(log_probs, units, costs) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
    "num_frames", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1, 5 * BLOCK // 2]
)
@pytest.mark.parametrize("costs", [PLAIN, (0.7, 0.0, 1.5), (0.7, 2.0, 1.5)])
def test_blocks_join_without_a_seam(num_frames: int, costs: Costs) -> None:
    rng = np.random.default_rng(num_frames)
    units = rng.integers(1, 5, 12).tolist()
    log_probs = random_log_probs(num_frames, num_frames, 6)
    alignment = align(log_probs, np.array(units), "week1", *costs)
    assert alignment.total == pytest.approx(best_score(log_probs, units, costs), abs=0.05)
    assert path_score(labels_of(alignment, num_frames), log_probs, units, costs) == pytest.approx(
        alignment.total, abs=0.05
    )


@pytest.mark.parametrize("num_units", [LANES - 2, LANES - 1, LANES, LANES + 1, 2 * LANES - 1, 2 * LANES])
@pytest.mark.parametrize("costs", [PLAIN, (0.7, 2.0, 1.5)])
def test_lanes_join_without_a_seam(num_units: int, costs: Costs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LANES", LANES)
    units = np.random.default_rng(num_units).integers(1, 9, num_units).tolist()
    log_probs = random_log_probs(num_units, 3 * num_units, 9)
    alignment = align(log_probs, np.array(units), "week1", *costs)
    assert alignment.total == pytest.approx(best_score(log_probs, units, costs), abs=0.02)
    assert path_score(labels_of(alignment, len(log_probs)), log_probs, units, costs) == pytest.approx(
        alignment.total, abs=0.02
    )


@pytest.mark.parametrize("seed", range(30))
def test_the_best_path_is_found_whatever_the_beam_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With texts that fit and others, and a beam that keeps everything, little or nothing of the best path."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(rows, "LANES", int(rng.choice([1, 2, 7, 32])))
    costs = ALL_COSTS[seed % len(ALL_COSTS)]
    units = rng.integers(1, 9, int(rng.integers(1, 120)))
    spoken = units if seed % 3 else rng.permutation(units)
    frames = np.stack([spoken, np.zeros_like(spoken)], axis=1).repeat(rng.integers(1, 4), axis=0).reshape(-1)
    logits = rng.normal(size=(len(frames), 9)) * rng.uniform(0.5, 2.0)
    logits[np.arange(len(frames)), frames] += rng.uniform(0.0, 6.0)
    log_probs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    best = best_score(log_probs, units.tolist(), costs)
    for beam in (1e-3, 3.0, 400.0):
        monkeypatch.setattr(best_path, "_BEAM", beam)
        alignment = align(log_probs, units, "week1", *costs)
        assert alignment.total == pytest.approx(best, abs=0.01)
        labels = labels_of(alignment, len(log_probs))
        assert path_score(labels, log_probs, units.tolist(), costs) == pytest.approx(best, abs=0.01)


def test_a_long_recording_of_which_nothing_is_recognised_keeps_its_path() -> None:
    """Rounding of float32 goes to one side where each frame adds the same: more than the loss of the path."""
    units = np.arange(400) % 299 + 1
    log_probs = np.full((60000, 300), -np.log(300), np.float32)
    log_probs[np.arange(800), np.stack([units, np.zeros_like(units)], axis=1).reshape(-1)] = 0.0
    alignment = align(log_probs, units, "week1")
    assert alignment.start.tolist() == list(range(0, 800, 2))


def test_states_that_cannot_be_on_the_best_path_are_left_out() -> None:
    """Of a long text that is said as it stands, the search keeps the units near the frames in which they are said."""
    units = np.arange(2000) % 29 + 1
    with FrameReader(spoken_log_probs(np.repeat(units, 2).tolist(), 30), units, "week1", 2.0, None) as reader:
        text = Text.of(reader.symbols, 3.0, 4.0)
        kept = []
        for arguments in ({}, {"most_loss": 100.0}, {"beam": 100.0}):
            states = rows.Rows(text, **arguments)
            for block in reader.forward(needs_all_units=False):
                states.advance(block)
            assert states.loss() == pytest.approx(0.0, abs=0.01)
            kept.append(np.mean([(row[0] > NEVER / 2).mean() for row in states.kept[1:]]))
    assert kept[0] > 0.9 and max(kept[1:]) < 0.35


@pytest.mark.parametrize("seed", range(20))
def test_frames_are_those_of_torchaudio(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_frames = int(rng.choice([80, 300, BLOCK, BLOCK + 1, 2 * BLOCK, 1500]))
    units = rng.integers(1, 4 if seed % 2 else 30, int(rng.integers(1, num_frames // 4)))
    log_probs = random_log_probs(seed, num_frames, 30)
    alignment = align(log_probs, units, "week1")
    tokens, scores = forced_align(torch.from_numpy(log_probs)[None], torch.from_numpy(units)[None], blank=0)
    ours = [0 if u < 0 else units[u] for u in labels_of(alignment, num_frames)]
    assert ours == tokens[0].tolist()
    new = (tokens[0] != 0) & (tokens[0] != torch.cat([torch.tensor([0]), tokens[0][:-1]]))
    assert alignment.start.tolist() == torch.nonzero(new).flatten().tolist()
    assert alignment.total == pytest.approx(float(scores.double().sum()), rel=1e-5)


def test_every_unit_is_timed_in_order_and_scored_by_its_frames() -> None:
    units = np.random.default_rng(0).integers(1, 9, 150)
    log_probs = random_log_probs(0, 900, 9)
    alignment = align(log_probs, units, "week1")
    assert (
        (alignment.start >= 0).all()
        and (alignment.end > alignment.start).all()
        and (alignment.start[1:] >= alignment.end[:-1]).all()
    )
    for u, unit in enumerate(units):
        assert alignment.score[u] == pytest.approx(
            log_probs[alignment.start[u] : alignment.end[u], unit].mean(), abs=1e-4
        )


def spoken_log_probs(frames: list[int], num_symbols: int) -> NDArray[np.float32]:
    """Log-probs of a model that is nearly sure of one symbol in each frame."""
    log_probs = np.full((len(frames), num_symbols), np.log(0.001 / (num_symbols - 1)), np.float32)
    log_probs[np.arange(len(frames)), frames] = np.log(0.999)
    return log_probs


def test_speech_without_text_passes_as_star_and_text_without_speech_is_not_timed() -> None:
    frames = [0, 1, 0, 2, 0, *[5, 0, 6, 0] * 10, 0, 3, 0, 4, 0]  # units 5 and 6 are spoken and not written
    units = np.array([1, 2, *[7, 8, 7, 8], 3, 4])  # units 7 and 8 are written and not spoken
    alignment = align(spoken_log_probs(frames, 9), units, "week1", star_penalty=2.0, skip_cost=4.0)
    assert alignment.start.tolist() == [1, 3, -1, -1, -1, -1, 46, 48]
    assert alignment.end.tolist() == [2, 4, -1, -1, -1, -1, 47, 49]
    assert (alignment.score[2:6] == 0).all()
    exact = align(spoken_log_probs(frames, 9), units, "week1")
    assert (exact.start >= 0).all() and exact.total < alignment.total


def test_each_stretch_of_speech_without_text_has_its_cost() -> None:
    """A unit that is said at the edge of speech without text, and more clearly within it, stays at the edge."""
    frames = [0, 1, 0, 2, 0, *[5, 0, 6, 0] * 5, 2, 0, *[5, 0, 6, 0] * 5, 3, 0]
    log_probs = spoken_log_probs(frames, 9)
    log_probs[3, [0, 2]] = np.log([0.4, 0.5])
    costs = {"star_penalty": 2.0, "skip_cost": 4.0}
    assert align(log_probs, np.array([1, 2, 3]), "week1", **costs).start.tolist() == [1, 25, 47]
    alignment = align(log_probs, np.array([1, 2, 3]), "week1", star_opening=3.0, **costs)
    assert alignment.start.tolist() == [1, 3, 47]
    assert alignment.star[5:46].all() and not alignment.star[:4].any() and not alignment.star[46:].any()


def test_all_text_may_be_unspoken() -> None:
    alignment = align(spoken_log_probs([0] * 5, 4), np.array([1, 2, 3]), "week1", skip_cost=1.0)
    assert alignment.start.tolist() == alignment.end.tolist() == [-1, -1, -1]
    assert alignment.total == pytest.approx(5 * np.log(0.999) - 3, abs=1e-5)


def test_more_text_than_frames_is_possible_where_it_may_be_skipped() -> None:
    alignment = align(spoken_log_probs([0, 2, 0], 4), np.array([1, 1, 1, 2, 3, 3]), "week1", skip_cost=1.0)
    assert alignment.start.tolist() == [-1, -1, -1, 1, -1, -1]


@pytest.mark.parametrize(
    ("log_probs", "units", "message"),
    [
        (random_log_probs(0, 5, 4), [], "transcript is empty"),
        (np.zeros((0, 4), np.float32), [1], "no frames"),
        (random_log_probs(0, 5, 4), [1, 4], "unit 4 is outside"),
        (random_log_probs(0, 5, 4), [1, 0], "unit 0 is outside"),
        (random_log_probs(0, 3, 4), [1, 2, 3, 1], "4 units .* do not fit into 3 frames"),
        (random_log_probs(0, 3, 4), [1, 1, 1], r"3 units \(and 2 repeats\) do not fit"),
        (np.full((5, 4), np.nan, np.float32), [1], "not finite"),
    ],
)
def test_errors_name_the_lecture(log_probs: NDArray[np.float32], units: list[int], message: str) -> None:
    with pytest.raises(DataError, match=f"lecture week10_1.*{message}"):
        align(log_probs, np.array(units, dtype=np.int64), "week10_1")


def test_wrong_unit_of_the_text_is_timed_where_speech_is_left_for_it() -> None:
    frames = [0, 1, 0, 5, 0, 2, 0, 0, 0, 3, 0]
    log_probs = spoken_log_probs(frames, 9)
    costs = {"star_penalty": 2.0, "skip_cost": 4.0}
    without = align(log_probs, np.array([1, 7, 2, 3]), "week1", **costs)
    assert without.start.tolist() == [1, -1, 5, 9]
    alignment = align(log_probs, np.array([1, 7, 2, 3]), "week1", mismatch_penalty=4.5, **costs)
    assert alignment.start.tolist() == [1, 3, 5, 9] and alignment.score[1] == pytest.approx(-4.5, abs=0.01)
    unspoken = align(log_probs, np.array([1, 5, 2, 7, 3]), "week1", mismatch_penalty=4.5, **costs)
    assert unspoken.start.tolist() == [1, 3, 5, -1, 9]


def in_blocks(log_probs: NDArray[np.float32], rng: np.random.Generator) -> Iterator[NDArray[np.float32]]:
    begin = 0
    while begin < len(log_probs):
        size = int(rng.integers(0, 900))
        yield log_probs[begin : begin + size]
        begin += size


@pytest.mark.parametrize("seed", range(6))
def test_array_memory_map_and_blocks_give_the_same(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    units = rng.integers(1, 30, 120)
    log_probs = random_log_probs(seed, int(rng.integers(300, 2500)), 40)
    costs = {"star_penalty": 0.7, "star_opening": 0.5, "skip_cost": 1.5, "mismatch_penalty": 1.9} if seed % 2 else {}
    expected = align(log_probs, units, "week1", **costs)
    np.save(tmp_path / "log_probs.npy", log_probs)
    mapped = np.load(tmp_path / "log_probs.npy", mmap_mode="r")
    for source in (mapped, in_blocks(log_probs, rng), [log_probs], np.asfortranarray(log_probs)):
        alignment = align(source, units, "week1", **costs)
        assert alignment.total == expected.total
        assert np.array_equal(alignment.start, expected.start) and np.array_equal(alignment.end, expected.end)
        assert np.array_equal(alignment.score, expected.score)
    half = log_probs.astype(np.float16)
    same = align(half.astype(np.float32), units, "week1", **costs)
    for source in (half, in_blocks(half, rng)):
        assert np.array_equal(align(source, units, "week1", **costs).start, same.start)
    assert len(lanes.advance_lanes.signatures) == 1  # compiled once, for all of them


def test_blocks_are_checked_as_they_come() -> None:
    good = random_log_probs(0, BLOCK + 188, 4)
    bad = good.copy()
    bad[BLOCK + 88, 2] = np.inf
    with pytest.raises(DataError, match=f"lecture week1: .*not finite between frames {BLOCK} and {BLOCK + 188}"):
        align(iter([bad]), np.array([1, 2]), "week1")
    with pytest.raises(DataError, match="lecture week1: 3 units .* do not fit into 2 frames"):
        align(iter([good[:2]]), np.array([1, 2, 1]), "week1")
    with pytest.raises(DataError, match="lecture week1: it has no frames"):
        align(iter([]), np.array([1]), "week1")
    with pytest.raises(DataError, match="lecture week1: log-probs of shape .* type float64"):
        align(good.astype(np.float64), np.array([1]), "week1")


def peaks(seed: int, num_units: int, num_frames: int, num_symbols: int) -> tuple[NDArray, NDArray, NDArray]:
    """Log-probs of a model that is sure, the units, and the frame of each unit."""
    rng = np.random.default_rng(seed)
    units = rng.integers(1, num_symbols, num_units)
    frames = np.sort(rng.choice(num_frames // 2, num_units, replace=False)) * 2  # a blank between any two
    log_probs = np.full((num_frames, num_symbols), -9.0, np.float32)
    log_probs[:, 0] = -0.01
    log_probs[frames, 0] = -9.0
    log_probs[frames, units] = -0.01
    return log_probs, units, frames


def test_block_whose_path_passes_more_units_than_a_window_holds() -> None:
    log_probs, units, frames = peaks(0, 300, 1400, 30)
    unspoken = np.random.default_rng(1).integers(31, 60, 3000)  # more than the first window
    log_probs = np.pad(log_probs, ((0, 0), (0, 30)), constant_values=-20.0)
    alignment = align(log_probs, np.insert(units, 150, unspoken), "week1", skip_cost=4.0)
    assert np.array_equal(np.delete(alignment.start, np.s_[150:3150]), frames)
    assert (alignment.start[150:3150] == -1).all()
    assert alignment.total == pytest.approx(1400 * -0.01 - 3000 * 4.0, abs=1)


def test_no_temporary_is_as_large_as_the_log_probs() -> None:
    log_probs, units, frames = peaks(0, 1000, 20_000, 500)
    align(log_probs[:600], units[:5], "week1", skip_cost=4.0)  # compiles
    tracemalloc.start()
    alignment = align(log_probs, units, "week1", 2.0, 4.0, 4.0, 4.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(alignment.start, frames)
    assert peak < 8e6 < log_probs.nbytes / 4


@pytest.mark.slow
def test_sizes_beyond_32_bits() -> None:
    log_probs, units, frames = peaks(0, 60_000, 200_000, 60)  # 2.4e10 states times frames
    tracemalloc.start()
    begin = time.monotonic()
    alignment = align(log_probs, units, "week1", 2.0, 4.0, 4.0)
    seconds = time.monotonic() - begin
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(alignment.start, frames) and np.array_equal(alignment.end, frames + 1)
    assert peak < 300e6 and seconds < 120
