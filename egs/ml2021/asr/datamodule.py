"""Batches of cuts for the recogniser, by Lhotse's samplers and dataset."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import DynamicBucketingSampler, K2SpeechRecognitionDataset, SimpleCutSampler
from lhotse.utils import fastcopy

from lhotse_prep.errors import DataError
from ml2021.asr.augment import spec_augment
from ml2021.config import AsrDataConfig


class AsrDataModule:
    """Train, dev and test cuts of a folder of stage 4."""

    def __init__(self, cuts_dir: Path, config: AsrDataConfig, seed: int) -> None:
        self.cuts_dir, self.config, self.seed = cuts_dir, config, seed

    def cuts(self, part: str) -> CutSet:
        """The windows of a part, the supervisions of each joined to one."""
        path = self.cuts_dir / f"ml2021_cuts_{part}.jsonl.gz"
        if not path.is_file():
            raise DataError(f"no cuts {path}; stage 4 makes them")
        return CutSet.from_jsonl_lazy(path).filter(_has_text).map(_merged)

    def train_batches(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The batches of an epoch, in the order and with the masks that seed and epoch give."""
        augment = spec_augment(self.config.spec_augment)
        dataset = K2SpeechRecognitionDataset(input_transforms=[] if augment is None else [augment])
        for index, batch in enumerate(self._train_sampler(epoch)):
            _seed_masks(self.seed, epoch, index)
            yield dataset[batch]

    def num_train_batches(self, epoch: int) -> int:
        """How many batches an epoch has; no features are read."""
        return sum(1 for _ in self._train_sampler(epoch))

    def eval_batches(self, part: str, max_duration: float) -> Iterator[dict[str, Any]]:
        """All cuts of a part, short ones first, with `supervisions.cut` for their ids."""
        ordered = CutSet.from_cuts(sorted(self.cuts(part), key=lambda c: (c.duration, c.id)))
        if not len(ordered):
            return
        dataset = K2SpeechRecognitionDataset(return_cuts=True)
        for batch in SimpleCutSampler(ordered, max_duration=max_duration, shuffle=False, rank=0, world_size=1):
            yield dataset[batch]

    def _train_sampler(self, epoch: int) -> DynamicBucketingSampler:
        cuts = self.cuts("train")
        for path in sorted(self.cuts_dir.glob("ml2021_cuts_train_sp*.jsonl.gz")):
            cuts = cuts + self.cuts(path.name.removeprefix("ml2021_cuts_").removesuffix(".jsonl.gz"))
        num_buckets = max(2, min(self.config.num_buckets, sum(1 for _ in cuts) // 4))
        return DynamicBucketingSampler(
            cuts, max_duration=self.config.max_duration, shuffle=True, num_buckets=num_buckets,
            seed=self.seed + epoch, buffer_size=20_000, rank=0, world_size=1,
        )  # fmt: skip


def _has_text(cut: Cut) -> bool:
    return len(cut.supervisions) > 0


def _merged(cut: Cut) -> Cut:
    """One supervision that lasts as long as the cut: its pauses at both ends belong to the utterance too."""
    ordered = sorted(cut.supervisions, key=lambda s: s.start)
    text = " ".join(s.text for s in ordered)
    whole = fastcopy(ordered[0], id=cut.id, start=0.0, duration=cut.duration, text=text, alignment=None, custom=None)
    return fastcopy(cut, supervisions=[whole])


def _seed_masks(*numbers: int) -> None:
    """SpecAugment draws from all three generators; what it draws must not depend on what ran before."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
