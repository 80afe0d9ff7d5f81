"""The aligner learns a made-up language from inaccurate first times, and locates its words."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch

from ml2021.asr.aligner import rounds
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.prepared import PreparedLecture as Lecture
from ml2021.asr.aligner.rounds import align_lectures
from ml2021.asr.aligner.train_round import Round
from ml2021.asr.aligner.windows import UNKNOWN, AlignerTask, frame_labels, training_windows
from ml2021.asr.augment.config import SpecAugmentConfig
from ml2021.asr.model.recogniser import CtcModel
from ml2021.asr.train.config import AsrDataConfig
from ml2021.training.checkpoint import save_checkpoint
from ml2021.training.config import TrainConfig
from tests.ml2021.asr.zipformers import OF_ALIGNER

WORDS = ["我", "的", "機", "器", "學", "習", "很", "好", "bert", "loss"]
SHIFT = 160  # samples a feature frame
CONFIG = AlignerConfig(
    encoder=replace(OF_ALIGNER, feedforward_dim=(64,)),
    data=AsrDataConfig(
        max_duration=12.0, ref_duration=0.5, spec_augment=SpecAugmentConfig(0, num_frame_masks=0, num_feature_masks=0)
    ),
    train=TrainConfig(base_lr=5e-3, warmup_steps=20, average_period=5, average_epochs=1, keep_epochs=2),
    first_epochs=4,
    max_rounds=2,
    min_steps=50,
    num_english_pieces=10,
    window_duration=4.0,
)


def made_up_lecture(name: str, seed: int, num_words: int = 150) -> tuple[Lecture, np.ndarray]:
    """A lecture whose words have a spectrum each, for 0.2 to 0.3 s, with pauses; and the true starts in samples."""
    rng = np.random.default_rng(seed)
    spectra = np.random.default_rng(99).normal(0, 3, (len(WORDS), 2, 80))  # a word is two sounds
    frames, starts, regions, words = [np.zeros((30, 80))], [], [], []
    at, begin = 30, 30
    for i in range(num_words):
        w = int(rng.integers(len(WORDS)))
        length = int(rng.integers(20, 31))
        sound = np.repeat(spectra[w], [length // 2, length - length // 2], axis=0)
        frames.append(sound)
        starts.append(at)
        words.append(WORDS[w])
        at += length
        if i % 6 == 5 or i == num_words - 1:
            regions.append((begin * SHIFT, at * SHIFT))
            frames.append(np.zeros((40, 80)))
            at += 40
            begin = at
    features = np.concatenate(frames) + rng.normal(0, 0.5, (at, 80))
    times = (np.array(starts) + 12 + rng.uniform(-15, 15, num_words)) * SHIFT  # first times, off by up to 0.15 s
    times = np.sort(times)
    return Lecture(name, words, features.astype(np.float32), np.array(regions), times), np.array(starts) * SHIFT


def test_words_are_found_where_they_are(tmp_path: Path) -> None:
    lectures_and_starts = [made_up_lecture(f"l{i}", i) for i in range(3)]
    lectures = [x for x, _ in lectures_and_starts]
    before = [lecture.times.copy() for lecture in lectures]
    times = align_lectures(lectures, {"l0", "l1"}, CONFIG, tmp_path, torch.device("cpu"))
    for (lecture, truth), first in zip(lectures_and_starts, before):
        errors = np.abs(times[lecture.id].start * 16_000 - truth) / 16_000
        assert np.nanmedian(errors) < 0.08 < np.median(np.abs(first - truth)) / 16_000 * 1.5
        assert np.isfinite(errors).mean() > 0.97 and np.median(times[lecture.id].score) > 0.5
    lectures = [made_up_lecture(f"l{i}", i)[0] for i in range(3)]
    again = align_lectures(lectures, {"l0", "l1"}, CONFIG, tmp_path, torch.device("cpu"))  # finished rounds are kept
    assert all(np.array_equal(times[k].start, again[k].start, equal_nan=True) for k in times)


@pytest.mark.parametrize("is_second", [False, True])
def test_windows_hold_each_word_once(is_second: bool) -> None:
    lecture, _ = made_up_lecture("l", 5)
    windows = training_windows(lecture, [[1 + i % 7] for i in range(len(lecture.words))], CONFIG, is_second)
    assert [u for window in windows for u in window.units] == [1 + i % 7 for i in range(len(lecture.words))]
    assert all(len(window.features) <= 1.5 * 4.0 * 100 + 1 for window in windows)


def test_windows_of_the_second_way_have_no_edge_of_the_first() -> None:
    lecture, _ = made_up_lecture("l", 5, num_words=300)
    units = [[1 + i] for i in range(len(lecture.words))]
    firsts = [{w.units[0] for w in training_windows(lecture, units, CONFIG, is_second)} for is_second in (False, True)]
    assert all(len(first) > 20 for first in firsts) and firsts[0] & firsts[1] == {1}


def test_frames_are_labelled_by_the_words_that_are_said_in_them() -> None:
    lecture, starts = made_up_lecture("l", 6)
    lecture.times = starts + 12.0 * SHIFT
    lecture.times[40] = np.nan  # not said
    units = [[2 * WORDS.index(w) + 1, 2 * WORDS.index(w) + 2] for w in lecture.words]
    labels = frame_labels(lecture, units)
    assert len(labels) == len(lecture.features)
    for i in set(range(len(units))) - {39, 40, 41}:
        at = int(starts[i]) // SHIFT
        assert labels[at + 5] == units[i][0] and labels[at + 17] == units[i][1]
    is_speech = np.zeros(len(labels), bool)
    for begin, end in (lecture.regions // SHIFT).tolist():
        is_speech[begin:end] = True
    assert (labels[~is_speech] == 0).all() and (labels[is_speech] != 0).all()
    assert (labels != UNKNOWN).mean() > 0.95
    for window in training_windows(lecture, units, CONFIG):
        assert abs(len(window.labels) - len(window.features) / 4) <= 1
        in_order = [u for u, _ in groupby(window.labels) if u > 0]
        assert len(in_order) > 0.9 * len(window.units) and set(in_order) <= set(window.units)


def test_speech_without_pauses_is_cut_into_windows() -> None:
    """Where there is noise, voice activity detection finds one stretch of speech."""
    lecture, starts = made_up_lecture("l", 7, num_words=100)
    lecture.times = starts + 12.0 * SHIFT
    lecture.regions = np.array([[lecture.regions[0, 0], lecture.regions[-1, 1]]])
    units = [[1 + i] for i in range(len(lecture.words))]
    windows = training_windows(lecture, units, CONFIG)
    assert [u for window in windows for u in window.units] == list(range(1, 101))
    lengths = np.array([len(window.features) for window in windows]) / 100
    assert lengths.max() <= 2 * CONFIG.window_duration + 0.02 and np.median(lengths) >= CONFIG.window_duration


def test_guided_steps_learn_the_labels_of_frames() -> None:
    lecture, starts = made_up_lecture("l", 7, num_words=60)
    lecture.times = starts + 12.0 * SHIFT
    units = [[1 + WORDS.index(w)] for w in lecture.words]
    config = replace(CONFIG, guided_steps=5)
    windows = training_windows(lecture, units, config)
    task = AlignerTask(windows, config)
    torch.manual_seed(1)
    model = CtcModel(config.encoder, len(WORDS) + 1).eval()
    batch = next(task.train_batches(1))
    guided, after = task.compute_loss(model, batch, 4), task.compute_loss(model, batch, 5)
    assert set(guided.sums) == {"frame_loss"} and set(after.sums) == {"ctc_loss"}
    total, count = 0.0, 0
    for i in batch:  # one window after the other, frame by frame
        features = torch.from_numpy(np.asarray(task.windows[i].features))[None]
        log_probs = model(features, torch.tensor([features.shape[1]]))[0][0]
        for frame, label in zip(log_probs, task.windows[i].labels):
            if label != UNKNOWN:
                total, count = total - frame[label].item(), count + 1
    assert guided.weight == count and guided.loss.item() == pytest.approx(total / count, rel=1e-4)
    later = AlignerTask(windows, config, first_step=3)
    assert set(later.compute_loss(model, batch, 2).sums) == {"ctc_loss"}


@pytest.mark.parametrize(
    ("confidences", "moved", "num_rounds"),
    [
        ([0.96], [0.01], 1),  # sure, and it agrees with the first times
        ([0.85, 0.9, 0.905], [0.01] * 3, 3),  # no longer rises
        ([0.9, 0.7, 0.905], [0.01] * 3, 3),
        ([0.5, 0.52, 0.525, 0.526], [0.01] * 4, 4),  # has not risen twice, while it is not quite sure
        ([0.5, 0.49, 0.55, 0.551, 0.552], [0.01] * 5, 5),
        ([0.5, 0.4, 0.3], [0.01] * 3, 3),  # falls
        ([0.005, 0.02, 0.021, 0.4, 0.401, 0.402], [0.01] * 6, 6),  # had not begun to learn until the fourth
        ([0.5, 0.5, 0.5, 0.5], [0.3, 0.3, 0.3, 0.01], 4),  # the words moved until the fourth
        ([0.5 + 0.05 * i for i in range(8)], [0.01] * 8, 8),  # max_rounds
    ],
)
def test_rounds_end_when_nothing_moves_and_confidence_no_longer_rises(
    confidences: list[float], moved: list[float], num_rounds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = [(c, np.full(9, m)) for c, m in zip(confidences, moved)]
    steps = iter(range(10, 100, 10))

    def train(model: CtcModel, *arguments: object) -> int:
        number = next(steps) // 10
        weights = {"model": {"number": torch.tensor(number)}}
        save_checkpoint(tmp_path / f"round-{number}" / "pretrained.pt", weights)
        return 10 * number

    monkeypatch.setattr(rounds, "_train", train)
    monkeypatch.setattr(rounds, "_align_again", lambda *arguments: results.pop(0))
    lecture, _ = made_up_lecture("l", 7, num_words=20)
    config = replace(CONFIG, max_rounds=8, learned_confidence=0.95)
    texts = [" ".join(lecture.words)]
    confidence = rounds.train_aligner([lecture], texts, {"l"}, config, tmp_path, Machinery(torch.device("cpu")))
    assert confidence == max(confidences) and not results
    kept = torch.load(tmp_path / "pretrained.pt", weights_only=True)["model"]["number"]
    assert int(kept) == 1 + int(np.argmax(confidences))


@pytest.mark.parametrize(("guided_steps", "expected"), [(1000, 8), (5, 5)])
def test_at_most_half_of_the_first_round_is_guided(
    guided_steps: int, expected: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plans: list[Round] = []

    def train(*arguments: object) -> None:
        (plan,) = (x for x in arguments if isinstance(x, Round))
        plans.append(plan)
        plan.folder.mkdir(parents=True)
        torch.save({"model": CtcModel(CONFIG.encoder, 9).state_dict()}, plan.folder / "pretrained.pt")

    monkeypatch.setattr(rounds, "train_round", train)
    monkeypatch.setattr(rounds, "_align_again", lambda *arguments: (0.5, np.full(9, 1.0)))
    lecture, _ = made_up_lecture("l", 7, num_words=60)
    config = replace(CONFIG, guided_steps=guided_steps, first_epochs=8, min_steps=0, max_rounds=2)
    windows = [w for way in (False, True) for w in training_windows(lecture, [[1]] * 60, config, way)]
    assert AlignerTask(windows, config).steps_per_epoch() == 4  # for two passes over the lecture
    monkeypatch.setattr(rounds, "CtcModel", lambda encoder, num_units: CtcModel(encoder, 9))
    texts = [" ".join(lecture.words)]
    rounds.train_aligner([lecture], texts, {"l"}, config, tmp_path, Machinery(torch.device("cpu")))
    assert [plan.config.guided_steps for plan in plans] == [expected, 0]
