"""Stage 3: times for whole lectures from an acoustic model that learns on the lectures themselves.

Rounds: windows are cut at pauses by the times known so far (at first: those of synthetic speech), a CTC model on units
of pronunciation trains on them, and every lecture is aligned anew with its log-probs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lhotse_prep.align import Alignment, align
from lhotse_prep.bootstrap import group_regions, speech_regions, synthetic_times
from lhotse_prep.errors import DataError
from lhotse_prep.features import FRAME_SHIFT, SAMPLE_RATE, fbank
from lhotse_prep.islands import drop_strays
from lhotse_prep.pronounce import PronunciationUnits
from lhotse_prep.word_times import WordTimes, complete
from ml2021.asr.augment import augment_batch, spec_augment
from ml2021.asr.model import CtcModel
from ml2021.asr.subsampling import SUBSAMPLING_FACTOR
from ml2021.checkpoint import load_checkpoint, save_checkpoint
from ml2021.config import AlignerConfig
from ml2021.trainer import StepLoss, Trainer

logger = logging.getLogger(__name__)
FRAME = FRAME_SHIFT * SUBSAMPLING_FACTOR  # samples an encoder frame
STAR_PENALTY = 2.0  # speech with no text passes as blank at the best unit's log-prob less this


Window = tuple[NDArray[np.float32], list[int]]  # features (T, 80) and unit ids


@dataclass
class Lecture:
    """A recording and its transcript on the way to an alignment."""

    id: str
    words: list[str]
    features: NDArray[np.float32]  # (T, 80)
    regions: NDArray[np.int64]  # (R, 2) stretches of speech, samples
    times: NDArray[np.float64]  # (len(words),) middle of each word in samples, as known so far; NaN: not spoken


def read_lecture(lecture_id: str, samples: NDArray[np.float32], text: str) -> Lecture:
    """Features, stretches of speech and first times of one lecture."""
    words = text.split()
    if not words:
        raise DataError(f"lecture {lecture_id}: its transcript is empty, there is nothing to align")
    regions = speech_regions(samples, lecture_id)
    features = fbank(samples)
    starts = synthetic_times(words, features, regions)
    middles = starts + np.minimum(np.diff(starts, append=len(samples)) / 2, 0.1 * SAMPLE_RATE)
    return Lecture(lecture_id, words, features, regions, middles)


def align_lectures(
    lectures: Sequence[Lecture], train_ids: set[str], config: AlignerConfig, exp_dir: Path, device: torch.device
) -> dict[str, WordTimes]:
    """Train the aligner in rounds until it is sure of the words, and align every lecture.

    How long CTC loss stays flat at first differs from start to start, so the number of rounds is not given: they end
    when the median confidence of a word reaches config.learned_confidence. A round that was finished before a kill is
    not repeated. The last round's model goes to exp_dir/pretrained.pt.
    """
    units = PronunciationUnits([" ".join(x.words) for x in lectures], config.num_english_pieces)
    torch.manual_seed(config.train.seed)
    model = CtcModel(config.encoder, len(units)).to(device)
    encoded = {x.id: units.encode_words(x.words) for x in lectures}
    for number in range(1, config.max_rounds + 1):
        windows = [w for x in lectures if x.id in train_ids for w in training_windows(x, encoded[x.id], config)]
        _train_round(model, windows, config, exp_dir, number, device)
        times = {x.id: _align(model, x, encoded[x.id], config, device, with_star=False) for x in lectures}
        confidence = float(np.median(np.concatenate([t.score for t in times.values()])))
        moved = [np.abs(_middles(times[x.id]) - x.times) for x in lectures]
        logger.info(
            "aligner, round %d: median confidence %.3f, words moved by %.3f s (median)",
            number, confidence, float(np.nanmedian(np.concatenate(moved))) / SAMPLE_RATE,
        )  # fmt: skip
        for lecture in lectures:
            lecture.times = _middles(times[lecture.id])
        if number > 1 and confidence >= config.learned_confidence:
            break
    save_checkpoint(exp_dir / "pretrained.pt", {"model": model.state_dict()})
    times = {x.id: _align(model, x, encoded[x.id], config, device, with_star=True) for x in lectures}
    lag = onset_lag(lectures, times)
    logger.info("aligner: first words of stretches fire %.0f ms after speech begins; taken off", 1000 * lag)
    return {x.id: _completed(x, times[x.id], lag, encoded[x.id]) for x in lectures}


def _completed(lecture: Lecture, times: WordTimes, lag: float, units: list[list[int]]) -> WordTimes:
    """Take off the lag, and let voice activity help."""
    early = WordTimes(np.maximum(times.start - lag, 0), times.end - lag, times.score)
    return complete(early, np.array([len(u) for u in units]), lecture.regions / SAMPLE_RATE)


def _train_round(
    model: CtcModel, windows: Sequence[Window], config: AlignerConfig, exp_dir: Path, number: int, device: torch.device
) -> None:
    """Train the model for a round, or load what an earlier start made of it; leaves it ready to align."""
    round_dir = exp_dir / f"round-{number}"
    if not (round_dir / "pretrained.pt").is_file():
        task = AlignerTask(windows, config)
        if number == 1:
            epochs = max(config.first_epochs, -(-config.min_steps // task.num_train_batches(1)))
            train = replace(config.train, num_epochs=epochs)
        else:
            train = replace(
                config.train, num_epochs=config.more_epochs, warmup_steps=config.train.warmup_steps // 4,
                seed=config.train.seed + number,
            )  # fmt: skip
        logger.info("aligner, round %d: %d windows, %d epochs", number, len(windows), train.num_epochs)
        Trainer(model, task, train, round_dir, device).run()
    model.load_state_dict(load_checkpoint(round_dir / "pretrained.pt")["model"])
    model.eval()


def _align(
    model: CtcModel, lecture: Lecture, units: list[list[int]], config: AlignerConfig, device: torch.device,
    with_star: bool,
) -> WordTimes:  # fmt: skip
    log_probs = lecture_log_probs(model, lecture.features, device)
    return align_words(log_probs, units, lecture.id, config, with_star)


def _middles(times: WordTimes) -> NDArray[np.float64]:
    """Of each word, in samples."""
    return (times.start + times.end) / 2 * SAMPLE_RATE


def training_windows(lecture: Lecture, word_units: list[list[int]], config: AlignerConfig) -> list[Window]:
    """(features, unit ids) of windows between pauses, with the words whose middle lies inside."""
    windows = []
    spans = group_regions(lecture.regions, int(config.window_duration * SAMPLE_RATE))
    edges = np.append((spans[1:, 0] + spans[:-1, 1]) / 2, np.inf)  # a word in a pause goes to the nearer window
    order = np.searchsorted(edges, lecture.times)
    for index, (begin, end) in enumerate(spans.tolist()):
        ids = [u for w in np.flatnonzero((order == index) & np.isfinite(lecture.times)) for u in word_units[w]]
        features = lecture.features[begin // FRAME_SHIFT : -(-end // FRAME_SHIFT)]
        num_frames = -(-len(features) // SUBSAMPLING_FACTOR)
        if ids and num_frames >= 1.05 * len(ids) + sum(a == b for a, b in zip(ids, ids[1:])):
            windows.append((features, ids))
    return windows


def align_words(
    log_probs: NDArray[np.float32], word_units: list[list[int]], lecture_id: str, config: AlignerConfig, with_star: bool
) -> WordTimes:
    """Word times from frame log-probs; with_star allows speech without text and text without speech."""
    flat = np.array([u for word in word_units for u in word], dtype=np.int64)
    if with_star:
        path = align(log_probs, flat, lecture_id, STAR_PENALTY, config.skip_cost, config.mismatch_penalty)
        path = drop_strays(path, config.min_island, isolation=5 * SAMPLE_RATE // FRAME, second=SAMPLE_RATE // FRAME)
    else:
        path = align(log_probs, flat, lecture_id)
    return _words_of_units(path, [len(w) for w in word_units])


def _words_of_units(path: Alignment, sizes: Sequence[int]) -> WordTimes:
    """A word lasts from its first spoken unit to its last; one with fewer than half its units spoken is not spoken."""
    start, end, score = (np.full(len(sizes), np.nan) for _ in range(3))
    begin = 0
    for w, size in enumerate(sizes):
        unit = np.arange(begin, begin + size)
        spoken = unit[path.start[unit] >= 0]
        begin += size
        if 2 * len(spoken) >= size:
            start[w], end[w] = path.start[spoken[0]] * FRAME / SAMPLE_RATE, path.end[spoken[-1]] * FRAME / SAMPLE_RATE
        score[w] = float(np.exp(path.score[spoken]).sum() / size)
    return WordTimes(start, end, score)


def onset_lag(lectures: Sequence[Lecture], alignments: dict[str, WordTimes]) -> float:
    """Median seconds from the beginning of a stretch of speech to the word that fires first in it."""
    lags = []
    for lecture in lectures:
        starts = alignments[lecture.id].start
        starts = starts[np.isfinite(starts)]
        onsets = lecture.regions[1:, 0] / SAMPLE_RATE
        quiet = (lecture.regions[1:, 0] - lecture.regions[:-1, 1]) >= 0.3 * SAMPLE_RATE
        for onset in onsets[quiet]:
            index = np.searchsorted(starts, onset - 0.1)
            if index < len(starts) and starts[index] - onset < 0.5:
                lags.append(starts[index] - onset)
    return float(np.median(lags)) if lags else 0.0


@torch.no_grad()
def lecture_log_probs(
    model: CtcModel, features: NDArray[np.float32], device: torch.device, chunk: int = 2000, context: int = 200
) -> NDArray[np.float32]:
    """(T, 80) -> (T', V) log-probs of a whole lecture, chunk frames at a time with context frames on both sides."""
    parts = []
    for begin in range(0, len(features), chunk):
        left = min(context, begin)
        piece = torch.from_numpy(features[begin - left : begin + chunk + context])[None].to(device)
        log_probs, _ = model(piece, torch.tensor([piece.shape[1]], device=device))
        count = -(-min(chunk, len(features) - begin) // SUBSAMPLING_FACTOR)
        first = left // SUBSAMPLING_FACTOR
        parts.append(log_probs[0, first : first + count].float().cpu().numpy())
    return np.concatenate(parts)


class AlignerTask:
    """CTC on windows held in memory, batched by length."""

    def __init__(self, windows: Sequence[Window], config: AlignerConfig) -> None:
        if not windows:
            raise DataError("the aligner has no windows to train on: the training lectures have no usable speech")
        self.windows, self.config = sorted(windows, key=lambda w: len(w[0])), config
        self.augment = spec_augment(config.data.spec_augment)

    def train_batches(self, epoch: int) -> Iterator[list[int]]:
        """Lists of window indices; neighbours in length together, the order of batches shuffled."""
        rng = np.random.default_rng((self.config.train.seed, epoch))
        order = np.argsort(np.array([len(w[0]) for w in self.windows]) * rng.uniform(0.9, 1.1, len(self.windows)))
        limit = self.config.data.max_duration * SAMPLE_RATE / FRAME_SHIFT
        batches: list[list[int]] = [[]]
        for i in order.tolist():
            if batches[-1] and len(self.windows[i][0]) * (len(batches[-1]) + 1) > limit:
                batches.append([])
            batches[-1].append(i)
        for b in rng.permutation(len(batches)).tolist():
            yield batches[b]

    def num_train_batches(self, epoch: int) -> int:
        """How many batches an epoch has."""
        return sum(1 for _ in self.train_batches(epoch))

    def valid_batches(self) -> Iterator[list[int]]:
        """None: all lectures are to be aligned, there is nothing to hold out."""
        return iter(())

    def compute_loss(self, model: nn.Module, batch: list[int], step: int) -> StepLoss:
        """Mean CTC loss a unit."""
        device = next(model.parameters()).device
        features = [torch.from_numpy(self.windows[i][0]) for i in batch]
        lens = torch.tensor([len(f) for f in features])
        inputs = nn.utils.rnn.pad_sequence(features, batch_first=True)
        targets = [torch.tensor(self.windows[i][1]) for i in batch]
        target_lens = torch.tensor([len(t) for t in targets])
        inputs = augment_batch(inputs, lens, self.augment)
        log_probs, out_lens = model(inputs.to(device), lens.to(device))
        loss = nn.functional.ctc_loss(
            log_probs.transpose(0, 1), torch.cat(targets).to(device), out_lens, target_lens.to(device),
            reduction="sum", zero_infinity=True,
        )  # fmt: skip
        num_units = float(target_lens.sum())
        return StepLoss(loss / num_units, {"ctc_loss": float(loss.detach())}, num_units)
