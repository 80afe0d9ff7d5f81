"""What the aligner trains on: windows between pauses with the units that are said in them, and their CTC loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lhotse_prep.alignment.first_times import group_regions
from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import iterate_jsonl, write_jsonl
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.prepared import Frames, PreparedLecture, StoredFrames, as_array
from ml2021.asr.model.layers.encoder_frames import SUBSAMPLING_FACTOR
from ml2021.asr.model.layers.schedule import set_batch_count
from ml2021.asr.train.augment import augment_batch, spec_augment
from ml2021.training.task import StepLoss, Task

Window = tuple[Frames, list[int]]  # features (T, 80) and unit ids


def training_windows(lecture: PreparedLecture, word_units: list[list[int]], config: AlignerConfig) -> list[Window]:
    """Windows between pauses, each with the words whose middle lies inside."""
    windows: list[Window] = []
    spans = group_regions(lecture.regions, int(config.window_duration * SAMPLE_RATE))
    edges = np.append((spans[1:, 0] + spans[:-1, 1]) / 2, np.inf)  # a word in a pause belongs to the nearer window
    order = np.searchsorted(edges, lecture.times)
    spoken = np.flatnonzero(np.isfinite(lecture.times))
    spoken = spoken[np.argsort(order[spoken], kind="stable")]
    inside = np.split(spoken, np.searchsorted(order[spoken], np.arange(1, len(spans))))  # words of each window
    for words, (begin, end) in zip(inside, spans.tolist()):
        ids = [u for w in words.tolist() for u in word_units[w]]
        features = lecture.features[begin // FRAME_SHIFT : -(-end // FRAME_SHIFT)]
        num_frames = -(-len(features) // SUBSAMPLING_FACTOR)
        if ids and num_frames >= 1.05 * len(ids) + sum(a == b for a, b in zip(ids, ids[1:])):
            windows.append((features, ids))
    return windows


def write_windows(path: Path, windows: Sequence[Window]) -> None:
    """Write where the frames of windows are stored, and their units, for read_windows."""

    def row(frames: Frames, ids: list[int]) -> dict[str, object]:
        assert isinstance(frames, StoredFrames)
        return {"path": str(frames.path.absolute()), "begin": frames.begin, "end": frames.end, "units": ids}

    write_jsonl(path, (row(*window) for window in windows))


def read_windows(path: Path) -> list[Window]:
    """The windows that write_windows wrote; their frames stay in their files."""
    rows = iterate_jsonl(path)
    return [(StoredFrames(Path(row["path"]), row["begin"], row["end"]), row["units"]) for row in rows]


class AlignerTask(Task):
    """CTC training on windows, batched by length; earlier rounds took first_step steps."""

    def __init__(self, windows: Sequence[Window], config: AlignerConfig, first_step: int = 0) -> None:
        if not windows:
            raise DataError("the aligner has no windows to train on: the training lectures have no usable speech")
        self.windows, self.config = sorted(windows, key=lambda w: len(w[0])), config
        self.first_step = first_step
        self.augment = spec_augment(config.data.spec_augment)

    def steps_per_epoch(self) -> int:
        """Steps of an epoch of the training loop."""
        return -(-self.num_train_batches(1) // self.config.train.accum_grad)

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

    def divide(self, batch: list[int], size: int) -> list[list[int]]:
        """Windows of similar total duration in each part."""
        return [batch[i::size] for i in range(min(size, len(batch)))]

    def valid_batches(self) -> Iterator[list[int]]:
        """No batches: every lecture is to be aligned, so none is held out."""
        return iter(())

    def compute_loss(self, model: nn.Module, batch: list[int], step: int) -> StepLoss:
        """Mean CTC loss per unit."""
        num_batches = (self.first_step + step) * self.batches_per_step  # of data.max_duration
        set_batch_count(model, self.config.data.batch_count(num_batches))
        device = next(model.parameters()).device
        features = [torch.from_numpy(as_array(self.windows[i][0])) for i in batch]
        lens = torch.tensor([len(f) for f in features])
        inputs = nn.utils.rnn.pad_sequence(features, batch_first=True)
        targets = [torch.tensor(self.windows[i][1]) for i in batch]
        target_lens = torch.tensor([len(t) for t in targets])
        inputs = augment_batch(inputs, lens, self.augment)
        log_probs, out_lens = model(inputs.to(device), lens)
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
