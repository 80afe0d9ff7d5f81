"""Batches of cuts for the recogniser, by Lhotse's samplers and dataset."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet, load_manifest
from lhotse.dataset import DynamicBucketingSampler, K2SpeechRecognitionDataset, SimpleCutSampler

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
        return CutSet.from_cuts(c.merge_supervisions() for c in load_manifest(path, CutSet) if c.supervisions)

    def train_batches(self, epoch: int) -> Iterator[dict[str, Any]]:
        """The batches of an epoch, in the order and with the masks that seed and epoch give."""
        cuts = self.cuts("train")
        for factor in self.config.speed_factors:
            cuts = cuts + self.cuts("train").perturb_speed(factor)
        num_buckets = max(2, min(self.config.num_buckets, len(cuts) // 4))
        sampler = DynamicBucketingSampler(
            cuts, max_duration=self.config.max_duration, shuffle=True, num_buckets=num_buckets,
            seed=self.seed + epoch, buffer_size=20_000, rank=0, world_size=1,
        )  # fmt: skip
        augment = spec_augment(self.config.spec_augment)
        dataset = K2SpeechRecognitionDataset(input_transforms=[] if augment is None else [augment])
        for index, batch in enumerate(sampler):
            _seed_masks(self.seed, epoch, index)
            yield dataset[batch]

    def eval_batches(self, part: str, max_duration: float) -> Iterator[dict[str, Any]]:
        """All cuts of a part, longest first in memory order, with `supervisions.cut` for their ids."""
        cuts = self.cuts(part)
        if not len(cuts):
            return
        ordered = CutSet.from_cuts(sorted(cuts, key=lambda c: (c.duration, c.id)))
        dataset = K2SpeechRecognitionDataset(return_cuts=True)
        for batch in SimpleCutSampler(ordered, max_duration=max_duration, shuffle=False, rank=0, world_size=1):
            yield dataset[batch]


def _seed_masks(*numbers: int) -> None:
    """SpecAugment draws from all three generators; what it draws must not depend on what ran before."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
