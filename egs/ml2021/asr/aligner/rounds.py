"""Stage 3: times for whole lectures from an acoustic model that learns on the lectures themselves.

In each round, windows are cut at pauses by the current times (at first those of synthetic speech), a CTC model on units
of pronunciation trains on the windows, and every lecture is aligned again with its log-probs.
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

from lhotse_prep.alignment.first_times import group_regions, synthetic_times
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import write_json
from lhotse_prep.workflow.strict_config import to_mapping
from ml2021.asr.aligner.acoustic import log_prob_blocks
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.model.layers.encoder_frames import FRAME, SUBSAMPLING_FACTOR
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import CtcModel
from ml2021.asr.train.augment import augment_batch, spec_augment
from ml2021.training.checkpoint import load_checkpoint, save_checkpoint
from ml2021.training.task import StepLoss, Task
from ml2021.training.trainer import Trainer

logger = logging.getLogger(__name__)
Window = tuple[NDArray[np.float32], list[int]]  # features (T, 80) and unit ids


@dataclass
class Lecture:
    """What the rounds need of a recording and its transcript, with the current times."""

    id: str
    words: list[str]
    features: NDArray[np.float32]  # (T, 80)
    regions: NDArray[np.int64]  # (R, 2) stretches of speech, samples
    times: NDArray[np.float64]  # (len(words),) current middle of each word in samples; NaN: not spoken


def read_lecture(
    lecture_id: str, samples: NDArray[np.float32], words: list[str], times: WordTimes | None = None
) -> Lecture:
    """Features, stretches of speech and first times of one lecture: those given, or else those of synthetic speech."""
    regions = speech_regions(samples, lecture_id)
    features = fbank(samples)
    if times is not None:
        return Lecture(lecture_id, words, features, regions, _middles(times))
    starts = synthetic_times(words, features, regions)
    middles = starts + np.minimum(np.diff(starts, append=len(samples)) / 2, 0.1 * SAMPLE_RATE)
    return Lecture(lecture_id, words, features, regions, middles)


def align_lectures(
    lectures: Sequence[Lecture], train_ids: set[str], config: AlignerConfig, exp_dir: Path, device: torch.device
) -> dict[str, WordTimes]:
    """Train the aligner in rounds until it is sure of the words, and align every lecture.

    The number of rounds varies, because CTC loss stays flat for a different time in each training. Rounds end when the
    median confidence of a word reaches config.learned_confidence and the alignment hardly moves. After an interruption,
    finished rounds are not repeated. The last round's model, its config.json and units stay in exp_dir.
    """
    units = PronunciationUnits.of_texts([" ".join(x.words) for x in lectures], config.num_english_pieces)
    torch.manual_seed(config.train.seed)
    model = CtcModel(config.encoder, len(units)).to(device)
    encoded = {x.id: units.encode_words(x.words) for x in lectures}
    num_steps = 0  # of all rounds
    for number in range(1, config.max_rounds + 1):
        windows = [w for x in lectures if x.id in train_ids for w in training_windows(x, encoded[x.id], config)]
        num_steps = _train_round(model, windows, config, exp_dir, number, num_steps, device)
        times = {x.id: _align(model, x, encoded[x.id], config, device, with_star=False) for x in lectures}
        confidence = float(np.median(np.concatenate([t.score for t in times.values()])))
        moved = np.concatenate([np.abs(_middles(times[x.id]) - x.times) for x in lectures]) / SAMPLE_RATE
        movement = float(np.nanmedian(moved))
        logger.info(
            "aligner, round %d: median confidence %.3f, words moved by %.3f s (median)", number, confidence, movement
        )
        for lecture in lectures:
            lecture.times = _middles(times[lecture.id])
        if number > 1 and confidence >= config.learned_confidence and movement <= config.settled:
            break
    save_checkpoint(exp_dir / "pretrained.pt", {"model": model.state_dict()})
    units.save(exp_dir)
    write_json(exp_dir / "config.json", {"encoder": to_mapping(config.encoder)})
    times = {x.id: _align(model, x, encoded[x.id], config, device, with_star=True) for x in lectures}
    return finish_times(times, encoded, {x.id: x.regions for x in lectures})


def _train_round(
    model: CtcModel,
    windows: Sequence[Window],
    config: AlignerConfig,
    exp_dir: Path,
    number: int,
    first_step: int,
    device: torch.device,
) -> int:
    """Train the model for a round, or load it if the round is already finished; then it is ready to align.

    Args:
      first_step: steps of all earlier rounds.
    Returns:
      Steps up to the end of this round.
    """
    round_dir = exp_dir / f"round-{number}"
    task = AlignerTask(windows, config, first_step)
    steps_per_epoch = task.num_train_batches(1)
    if number == 1:
        epochs = max(config.first_epochs, -(-config.min_steps // steps_per_epoch))
        train = replace(config.train, num_epochs=epochs)
    else:
        train = replace(
            config.train,
            num_epochs=config.more_epochs,
            warmup_steps=config.train.warmup_steps // 4,
            seed=config.train.seed + number,
        )
    if not (round_dir / "pretrained.pt").is_file():
        logger.info("aligner, round %d: %d windows, %d epochs", number, len(windows), train.num_epochs)
        Trainer(model, task, train, round_dir, device).run()
    model.load_state_dict(load_checkpoint(round_dir / "pretrained.pt")["model"])
    model.eval()
    return first_step + train.num_epochs * steps_per_epoch


def _align(
    model: CtcModel,
    lecture: Lecture,
    units: list[list[int]],
    config: AlignerConfig,
    device: torch.device,
    with_star: bool,
) -> WordTimes:
    log_probs = log_prob_blocks(model, lecture.features, device)
    return align_words(log_probs, units, lecture.id, FRAME, config if with_star else None)


def _middles(times: WordTimes) -> NDArray[np.float64]:
    """The middle of each word, in samples."""
    return (times.start + times.end) / 2 * SAMPLE_RATE


def training_windows(lecture: Lecture, word_units: list[list[int]], config: AlignerConfig) -> list[Window]:
    """Windows between pauses, each with the words whose middle lies inside."""
    windows = []
    spans = group_regions(lecture.regions, int(config.window_duration * SAMPLE_RATE))
    edges = np.append((spans[1:, 0] + spans[:-1, 1]) / 2, np.inf)  # a word in a pause belongs to the nearer window
    order = np.searchsorted(edges, lecture.times)
    for index, (begin, end) in enumerate(spans.tolist()):
        ids = [u for w in np.flatnonzero((order == index) & np.isfinite(lecture.times)) for u in word_units[w]]
        features = lecture.features[begin // FRAME_SHIFT : -(-end // FRAME_SHIFT)]
        num_frames = -(-len(features) // SUBSAMPLING_FACTOR)
        if ids and num_frames >= 1.05 * len(ids) + sum(a == b for a, b in zip(ids, ids[1:])):
            windows.append((features, ids))
    return windows


class AlignerTask(Task):
    """CTC training on windows held in memory, batched by length; earlier rounds took first_step steps."""

    def __init__(self, windows: Sequence[Window], config: AlignerConfig, first_step: int = 0) -> None:
        if not windows:
            raise DataError("the aligner has no windows to train on: the training lectures have no usable speech")
        self.windows, self.config = sorted(windows, key=lambda w: len(w[0])), config
        self.first_step = first_step
        self.augment = spec_augment(config.data.spec_augment)

    def train_batches(self, epoch: int) -> Iterator[list[int]]:
        """Lists of window indices: windows of similar length together, batches in random order."""
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

    def valid_batches(self) -> Iterator[list[int]]:
        """No batches: every lecture is to be aligned, so none is held out."""
        return iter(())

    def compute_loss(self, model: nn.Module, batch: list[int], step: int) -> StepLoss:
        """Mean CTC loss per unit."""
        set_batch_count(model, self.config.data.batch_count(self.first_step + step))
        device = next(model.parameters()).device
        features = [torch.from_numpy(self.windows[i][0]) for i in batch]
        lens = torch.tensor([len(f) for f in features])
        inputs = nn.utils.rnn.pad_sequence(features, batch_first=True)
        targets = [torch.tensor(self.windows[i][1]) for i in batch]
        target_lens = torch.tensor([len(t) for t in targets])
        inputs = augment_batch(inputs, lens, self.augment)
        log_probs, out_lens = model(inputs.to(device), lens.to(device))
        loss = nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            torch.cat(targets).to(device),
            out_lens,
            target_lens.to(device),
            reduction="sum",
            zero_infinity=True,
        )
        num_units = float(target_lens.sum())
        return StepLoss(loss / num_units, {"ctc_loss": float(loss.detach())}, num_units)
