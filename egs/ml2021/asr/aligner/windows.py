"""What the aligner trains on: windows of speech with the units that are said in them, and their CTC loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lhotse_prep.alignment.first_times import group_regions, regrouped, split_between_words
from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, write_jsonl
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.prepared import Frames, PreparedLecture, StoredFrames, as_array
from ml2021.asr.augment.masks import augment_batch, spec_augment
from ml2021.asr.model.layers.encoder_frames import SUBSAMPLING_FACTOR
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.model.recogniser import encoder_out_lens
from ml2021.training.task import StepLoss, Task

UNKNOWN = -1  # label of a frame of which it is not known what is said in it
_LONGEST_UNIT = 0.3  # seconds
_LONGEST = 2.0  # window_durations; where there is noise or music, a stretch of speech may last for minutes


class Window(NamedTuple):
    """A piece of speech, from pause to pause or from word to word."""

    features: Frames  # (T, 80)
    units: list[int]  # ids
    labels: list[int]  # (T',) the unit of each frame of the encoder by the current times, 0 in pauses, or UNKNOWN


def training_windows(
    lecture: PreparedLecture, word_units: list[list[int]], config: AlignerConfig, is_second: bool = False
) -> list[Window]:
    """Windows cut at pauses, or between words where there are none for long, with the words whose middle is inside.

    Args:
      lecture: with the current times of its words.
      word_units: of each word, ids.
      config: of the aligner.
      is_second: the second way to cut: at pauses inside the windows of the first (see regrouped). A word that is placed
        on the wrong side of a pause must be found there where windows are cut, but not where they are not.
    """
    labels = frame_labels(lecture, word_units)[SUBSAMPLING_FACTOR // 2 :]
    windows: list[Window] = []
    duration = config.window_duration * SAMPLE_RATE
    spans = group_regions(lecture.regions, int(duration))
    if is_second:
        spans = regrouped(lecture.regions, spans, int(duration))
    half = _half_lengths(lecture.times, np.array([len(units) for units in word_units], dtype=np.float64))
    spans = split_between_words(spans, lecture.times - half, lecture.times + half, int(_LONGEST * duration))
    edges = np.append((spans[1:, 0] + spans[:-1, 1]) / 2, np.inf)  # a word in a pause belongs to the nearer window
    order = np.searchsorted(edges, lecture.times)
    spoken = np.flatnonzero(np.isfinite(lecture.times))
    spoken = spoken[np.argsort(order[spoken], kind="stable")]
    inside = np.split(spoken, np.searchsorted(order[spoken], np.arange(1, len(spans))))  # words of each window
    for words, (begin, end) in zip(inside, spans.tolist()):
        ids = [u for w in words.tolist() for u in word_units[w]]
        first, stop = begin // FRAME_SHIFT, -(-end // FRAME_SHIFT)
        features = lecture.features[first:stop]
        num_frames = -(-len(features) // SUBSAMPLING_FACTOR)
        if ids and num_frames >= 1.05 * len(ids) + sum(a == b for a, b in zip(ids, ids[1:])):
            windows.append(Window(features, ids, labels[first:stop:SUBSAMPLING_FACTOR].tolist()))
    return windows


def _half_lengths(times: NDArray[np.float64], num_units: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half of the length that is expected of each word, in samples, if all units last equally long."""
    steps, units = np.diff(times), (num_units[1:] + num_units[:-1]) / 2
    usable = np.isfinite(steps) & (steps > 0) & (units > 0)
    unit = float(np.median(steps[usable] / units[usable])) if usable.any() else 0.0
    return num_units * unit / 2


def frame_labels(lecture: PreparedLecture, word_units: list[list[int]]) -> NDArray[np.int64]:
    """What is said in each feature frame by the current times: (T,), a unit, 0 in a pause, or UNKNOWN.

    A word lasts to the middle between its time and the next word's, at most as long as its units can, and within the
    stretch of speech that its time is in; its units share that evenly.
    """
    labels = np.zeros(len(lecture.features), np.int64)
    for begin, end in (lecture.regions // FRAME_SHIFT).tolist():
        labels[begin:end] = UNKNOWN
    spoken = np.flatnonzero(np.isfinite(lecture.times))
    times = lecture.times[spoken] / FRAME_SHIFT
    edges = (times[1:] + times[:-1]) / 2
    lengths = np.array([len(word_units[w]) for w in spoken.tolist()]) * (_LONGEST_UNIT * SAMPLE_RATE / FRAME_SHIFT)
    stretch = np.clip(np.searchsorted(lecture.regions[:, 0], lecture.times[spoken], side="right") - 1, 0, None)
    limits = lecture.regions[stretch] / FRAME_SHIFT
    begins = np.maximum(np.maximum(np.append(-np.inf, edges), times - lengths / 2), limits[:, 0])
    ends = np.minimum(np.minimum(np.append(edges, np.inf), times + lengths / 2), limits[:, 1])
    for w, begin, end in zip(spoken.tolist(), begins.tolist(), ends.tolist()):
        if end > begin and word_units[w]:
            pieces = np.rint(np.linspace(begin, end, len(word_units[w]) + 1)).astype(np.int64).tolist()
            for unit, first, stop in zip(word_units[w], pieces, pieces[1:]):
                labels[first:stop] = unit
    return labels


def write_windows(path: Path, windows: Sequence[Window]) -> None:
    """Write where the frames of windows are stored, and their units, for read_windows."""

    def row(window: Window) -> dict[str, object]:
        frames = window.features
        assert isinstance(frames, StoredFrames)
        where = {"path": str(frames.path.absolute()), "begin": frames.begin, "end": frames.end}
        return {**where, "units": window.units, "labels": window.labels}

    write_jsonl(path, (row(window) for window in windows))


def read_windows(path: Path) -> list[Window]:
    """The windows that write_windows wrote; their frames stay in their files."""
    rows = iterate_jsonl(path)
    return [
        Window(StoredFrames(Path(row["path"]), row["begin"], row["end"]), row["units"], row["labels"]) for row in rows
    ]


class AlignerTask(Task):
    """CTC training on windows, batched by length; earlier rounds took first_step steps.

    The first config.guided_steps steps learn the label of each frame instead. From random weights, CTC loss stays flat
    for some hundred steps, until the model has guessed which frames the units belong to.
    """

    def __init__(self, windows: Sequence[Window], config: AlignerConfig, first_step: int = 0) -> None:
        if not windows:
            raise DataError("the aligner has no windows to train on: the training lectures have no usable speech")
        self.windows, self.config = sorted(windows, key=lambda w: len(w.features)), config
        self.first_step = first_step
        self.augment = spec_augment(config.data.spec_augment)

    def steps_per_epoch(self) -> int:
        """Steps of an epoch of the training loop."""
        return -(-self.num_train_batches(1) // self.config.train.accum_grad)

    def train_batches(self, epoch: int) -> Iterator[list[int]]:
        """Lists of window indices: windows of similar length together, batches in random order."""
        rng = np.random.default_rng((self.config.train.seed, epoch))
        order = np.argsort(np.array([len(w.features) for w in self.windows]) * rng.uniform(0.9, 1.1, len(self.windows)))
        limit = self.config.data.max_duration * SAMPLE_RATE / FRAME_SHIFT
        batches: list[list[int]] = [[]]
        for i in order.tolist():
            if batches[-1] and len(self.windows[i].features) * (len(batches[-1]) + 1) > limit:
                batches.append([])
            batches[-1].append(i)
        for b in rng.permutation(len(batches)).tolist():
            yield batches[b]

    def valid_batches(self) -> Iterator[list[int]]:
        """No batches: every lecture is to be aligned, so none is held out."""
        return iter(())

    def compute_loss(self, model: nn.Module, batch: list[int], step: int) -> StepLoss:
        """Mean CTC loss per unit, or in guided steps mean cross entropy per labelled frame."""
        num_batches = (self.first_step + step) * self.batches_per_step  # of data.max_duration
        set_batch_count(model, self.config.data.batch_count(num_batches))
        device = next(model.parameters()).device
        features = [torch.from_numpy(as_array(self.windows[i].features)) for i in batch]
        lens = torch.tensor([len(f) for f in features])
        inputs = nn.utils.rnn.pad_sequence(features, batch_first=True)
        inputs = augment_batch(inputs, lens, self.augment)
        log_probs, out_lens = model(inputs.to(device), lens)
        if self.first_step + step < self.config.guided_steps:
            return _labelled_loss(log_probs, encoder_out_lens(lens).tolist(), [self.windows[i].labels for i in batch])
        targets = [torch.tensor(self.windows[i].units) for i in batch]
        target_lens = torch.tensor([len(t) for t in targets])
        loss = nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            torch.cat(targets).to(device),
            out_lens,
            target_lens.to(device),
            reduction="sum",
            zero_infinity=True,
        )
        num_units = float(target_lens.sum())
        return StepLoss(loss / num_units, {"ctc_loss": loss.detach()}, num_units)


def _labelled_loss(log_probs: Tensor, out_lens: list[int], labels: list[list[int]]) -> StepLoss:
    """Mean cross entropy of the labelled frames; log_probs (N, T', V), labels of about as many frames as out_lens."""
    gold = torch.full(log_probs.shape[:2], UNKNOWN)
    for row, length, of_window in zip(gold, out_lens, labels):
        count = min(len(of_window), length)
        row[:count] = torch.tensor(of_window[:count])
    num_labelled = float((gold != UNKNOWN).sum())
    gold = gold.to(log_probs.device)
    loss = nn.functional.nll_loss(log_probs.flatten(0, 1), gold.flatten(), ignore_index=UNKNOWN, reduction="sum")
    return StepLoss(loss / max(1.0, num_labelled), {"frame_loss": loss.detach()}, num_labelled)
