"""Batches of cuts for the recogniser, by Lhotse's samplers and dataset.

The batches of an epoch are planned (lists of cuts, cheap) and then loaded, by worker processes if wanted. Which cuts
are together depends on seed and epoch alone; speed, noise and masks of a batch on (seed, epoch, its number) alone.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lhotse import CutSet
from lhotse.dataset import CutMix, DynamicBucketingSampler, K2SpeechRecognitionDataset, SimpleCutSampler
from lhotse.dataset.input_strategies import BatchIO, OnTheFlyFeatures, PrecomputedFeatures
from torch.utils.data import DataLoader, Dataset

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.manifests.files import check_cut
from lhotse_prep.windows.read import read_windows
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.train.augment import spec_augment
from ml2021.asr.train.config import AsrDataConfig
from ml2021.training.seeds import derived_seed, seed_everything

Batch = dict[str, Any]  # as K2SpeechRecognitionDataset gives it, and `ids`: of the cuts, by row of `inputs`
LOADING = 0  # the last number of seeds that loading uses, as the trainer uses 1


class AsrDataModule:
    """Train, dev and test cuts of a folder of stage 4."""

    def __init__(self, cuts_dir: Path, config: AsrDataConfig, seed: int) -> None:
        self.cuts_dir, self.config, self.seed = cuts_dir, config, seed
        self._num_train_cuts: int | None = None

    def cuts(self, part: str) -> CutSet:
        """The windows of a part, the supervisions of each joined to one."""
        return read_windows(self.cuts_dir, part)

    def train_cuts(self) -> CutSet:
        """The windows of the train part, and those of other speeds: stored by stage 4, or changed while loading."""
        cuts = self.cuts("train")
        for path in sorted(self.cuts_dir.glob("ml2021_cuts_train_sp*.jsonl.gz")):
            cuts = cuts + self.cuts(path.name.removeprefix("ml2021_cuts_").removesuffix(".jsonl.gz"))
        for factor in self.config.speed_factors:
            cuts = cuts + self.cuts("train").drop_features().perturb_speed(factor)
        return cuts

    def train_plan(self, epoch: int) -> Iterator[CutSet]:
        """The cuts of each batch of an epoch, in the order that seed and epoch give."""
        cuts = self.train_cuts()
        if self._num_train_cuts is None:
            self._num_train_cuts = sum(1 for _ in cuts)
        num_buckets = max(2, min(self.config.num_buckets, self._num_train_cuts // 4))
        yield from DynamicBucketingSampler(
            cuts,
            max_duration=self.config.max_duration,
            shuffle=True,
            num_buckets=num_buckets,
            seed=self.seed + epoch,
            buffer_size=20_000,
            rank=0,
            world_size=1,
        )

    def load_train(self, numbered: Iterator[tuple[int, CutSet]], epoch: int) -> Iterator[Batch]:
        """Features and texts of planned batches, augmented as seed, epoch and the number of each say."""
        return self._load(numbered, _Loading(self.config, self.seed, epoch, True, self._noise()))

    def eval_plan(self, part: str, max_duration: float) -> Iterator[CutSet]:
        """The cuts of each batch of a part, short ones first."""
        ordered = CutSet.from_cuts(sorted(self.cuts(part), key=lambda c: (c.duration, c.id)))
        if len(ordered):
            yield from SimpleCutSampler(ordered, max_duration=max_duration, shuffle=False, rank=0, world_size=1)

    def load_eval(self, batches: Iterator[CutSet]) -> Iterator[Batch]:
        """Features and texts of planned batches as they are, with `supervisions.cut` for the cuts."""
        return self._load(enumerate(batches), _Loading(self.config, self.seed, 0, False, None))

    def eval_batches(self, part: str, max_duration: float) -> Iterator[Batch]:
        """All batches of a part, loaded."""
        return self.load_eval(self.eval_plan(part, max_duration))

    def describe(self) -> dict[str, str]:
        """What train and dev are, with a hash of their ids, times and texts."""
        return {f"{name} cuts": _digest(cuts) for name, cuts in (("train", self.train_cuts()), ("dev", self._dev()))}

    def _dev(self) -> CutSet:
        path = self.cuts_dir / "ml2021_cuts_dev.jsonl.gz"
        return self.cuts("dev") if path.is_file() else CutSet.from_cuts([])

    def _load(self, numbered: Iterator[tuple[int, CutSet]], loading: _Loading) -> Iterator[Batch]:
        yield from DataLoader(loading, batch_size=None, sampler=numbered, num_workers=self.config.num_workers)

    def _noise(self) -> CutSet | None:
        if self.config.noise_cuts is None:
            return None
        path = Path(self.config.noise_cuts)
        if not path.is_file():
            raise DataError(f"no noise {path}; noise_cuts must name a CutSet of Lhotse (.jsonl.gz)")
        return CutSet.from_file(path).map(check_cut).to_eager()


class _Loading(Dataset):
    """(number, cuts) -> batch, in the trainer's process or a worker."""

    def __init__(self, config: AsrDataConfig, seed: int, epoch: int, training: bool, noise: CutSet | None) -> None:
        self.config, self.seed, self.epoch, self.training, self.noise = config, seed, epoch, training, noise
        augment = spec_augment(config.spec_augment) if training else None
        self.input_transforms = [] if augment is None else [augment]

    def __getitem__(self, item: tuple[int, CutSet]) -> Batch:
        number, cuts = item
        if self.training:  # SpecAugment draws from all generators; it must not depend on what ran before
            seed_everything(self.seed, self.epoch, number, LOADING)
        dataset = K2SpeechRecognitionDataset(
            return_cuts=True,
            cut_transforms=self._cut_transforms(number),
            input_transforms=self.input_transforms,
            input_strategy=self._input_strategy(),
        )
        batch = dataset[cuts]
        supervisions = batch["supervisions"]
        rows = supervisions["sequence_idx"].tolist()
        batch["ids"] = [c.id for _, c in sorted(zip(rows, supervisions["cut"]), key=lambda pair: pair[0])]
        if self.training:
            del supervisions["cut"]
        return batch

    def _cut_transforms(self, number: int) -> list[CutMix]:
        if self.noise is None:
            return []
        rng = random.Random(derived_seed(self.seed, self.epoch, number, LOADING))
        return [
            CutMix(
                self.noise,
                snr=self.config.noise_snr,
                p=self.config.noise_probability,
                pad_to_longest=False,
                preserve_id=True,
                seed=rng,
            )
        ]

    def _input_strategy(self) -> BatchIO:
        return OnTheFlyFeatures(fbank_extractor()) if self.config.on_the_fly_feats else PrecomputedFeatures()


def _digest(cuts: CutSet) -> str:
    """How many cuts, how long, and a hash of the id, place and text of each."""
    digest, count, seconds = hashlib.sha256(), 0, 0.0
    for c in cuts:
        count, seconds = count + 1, seconds + c.duration
        texts = " ".join(s.text for s in c.supervisions)
        digest.update(f"{c.id}\t{c.recording_id}\t{c.start}\t{c.duration}\t{texts}\n".encode())
    return f"{count} cuts, {seconds / 3600:.2f} h, sha256 {digest.hexdigest()[:16]}"
