"""Batches of cuts for the recogniser, from Lhotse's samplers and dataset.

The batches of an epoch are first planned, as lists of cuts, which is cheap, and then loaded, optionally by worker
processes. The grouping into batches depends only on seed and epoch; speed, noise and masks of a batch depend only on
seed, epoch and the number of the batch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lhotse import CutSet
from lhotse.dataset import CutMix, DynamicBucketingSampler, K2SpeechRecognitionDataset, SimpleCutSampler
from lhotse.dataset.input_strategies import BatchIO, OnTheFlyFeatures, PrecomputedFeatures
from torch.utils.data import DataLoader, Dataset

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.manifests.files import AUDIO, FEATS, load_safely
from lhotse_prep.windows.read import read_windows
from lhotse_prep.workflow.digests import digest_parts
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.train.augment import spec_augment
from ml2021.asr.train.config import AsrDataConfig
from ml2021.training.seeds import derived_seed, seed_everything

Batch = dict[str, Any]  # that of K2SpeechRecognitionDataset, plus `ids`: the cut ids by row of `inputs`
BUFFER_SIZE = 20_000  # cuts among which the sampler draws
STORED_SPEED = "ml2021_cuts_train_sp"  # beginning of the names of stage 4's files of other speeds
LOADING = 0  # last component of the seeds for loading; the trainer uses 1


class AsrDataModule:
    """Train, dev and test cuts in a folder of stage 4."""

    def __init__(self, cuts_dir: Path, config: AsrDataConfig, seed: int) -> None:
        self.cuts_dir, self.config, self.seed = cuts_dir, config, seed
        self._set_sizes: list[int] = []  # cuts of each of train_sets, once counted

    def cuts(self, part: str) -> CutSet:
        """The windows of a part; the supervisions of each window are joined into one."""
        return read_windows(self.cuts_dir, part, AUDIO if self.config.on_the_fly_feats else FEATS)

    def train_sets(self) -> list[CutSet]:
        """The windows of the train part, and their copies at each other speed, stored by stage 4 or made on the fly.

        Raises:
          ConfigError: a speed is there twice.
        """
        stored = sorted(self.cuts_dir.glob(f"{STORED_SPEED}*.jsonl.gz"))
        speeds = [path.name.removeprefix(STORED_SPEED).removesuffix(".jsonl.gz") for path in stored]
        for factor in self.config.speed_factors:
            if f"{factor:g}" in speeds:
                raise ConfigError(
                    f"{self.cuts_dir} has windows at speed {factor:g} already (windows.speed_factors of prep.yaml): "
                    "take it out of data.speed_factors"
                )
        return [
            self.cuts("train"),
            *(self.cuts(f"train_sp{speed}") for speed in speeds),
            *(self.cuts("train").drop_features().perturb_speed(factor) for factor in self.config.speed_factors),
        ]

    def train_cuts(self) -> CutSet:
        """The cuts of train_sets, one set after the other."""
        return _joined(self.train_sets())

    def train_plan(self, epoch: int) -> Iterator[CutSet]:
        """The cuts of each batch of an epoch; grouping and order follow from seed and epoch."""
        sets = self.train_sets()
        if not self._set_sizes:
            self._set_sizes = [sum(1 for _ in cuts) for cuts in sets]
        num_cuts = sum(self._set_sizes)
        if len(sets) == 1 or num_cuts <= BUFFER_SIZE:  # the sampler has all sets in its buffer, which it shuffles
            cuts = _joined(sets)
        else:
            cuts = CutSet.mux(*sets, weights=[max(1, size) for size in self._set_sizes], seed=self.seed + epoch)
        num_buckets = max(2, min(self.config.num_buckets, num_cuts // 4))
        yield from DynamicBucketingSampler(
            cuts,
            max_duration=self.config.max_duration,
            shuffle=True,
            num_buckets=num_buckets,
            seed=self.seed + epoch,
            buffer_size=BUFFER_SIZE,
            rank=0,
            world_size=1,
        )

    def load_train(self, numbered: Iterator[tuple[int, CutSet]], epoch: int) -> Iterator[Batch]:
        """Features and texts of planned (number, cuts), augmented; the seed, epoch and number decide how."""
        return self._load(numbered, _Loading(self.config, self.seed, epoch, True, self._noise()))

    def eval_plan(self, part: str, max_duration: float) -> Iterator[CutSet]:
        """The cuts of each batch of a part, the shortest first."""
        ordered = CutSet.from_cuts(sorted(self.cuts(part), key=lambda c: (c.duration, c.id)))
        if len(ordered):
            yield from SimpleCutSampler(ordered, max_duration=max_duration, shuffle=False, rank=0, world_size=1)

    def load_eval(self, batches: Iterator[CutSet]) -> Iterator[Batch]:
        """Features and texts of planned batches, not augmented, with the cuts in `supervisions.cut`."""
        return self._load(enumerate(batches), _Loading(self.config, self.seed, 0, False, None))

    def eval_batches(self, part: str, max_duration: float) -> Iterator[Batch]:
        """Load all batches of a part."""
        return self.load_eval(self.eval_plan(part, max_duration))

    def describe(self) -> dict[str, str]:
        """Size of train and dev, with a hash of their ids, times and texts."""
        return {"train cuts": _digest(self.train_cuts()), "dev cuts": _digest(self.cuts("dev"))}

    def _load(self, numbered: Iterator[tuple[int, CutSet]], loading: _Loading) -> Iterator[Batch]:
        yield from DataLoader(loading, batch_size=None, sampler=numbered, num_workers=self.config.num_workers)

    def _noise(self) -> CutSet | None:
        if self.config.noise_cuts is None:
            return None
        path = Path(self.config.noise_cuts)
        if not path.is_file():
            raise DataError(f"no noise {path}; noise_cuts must name a CutSet file of Lhotse (.jsonl.gz)")
        noise = load_safely(path, CutSet, AUDIO if self.config.on_the_fly_feats else FEATS)
        if not len(noise):
            raise DataError(f"{path} has no cuts; noise_cuts must name a CutSet file with noises, or be null")
        return noise


class _Loading(Dataset[Batch]):
    """(number, cuts) -> batch; runs in the training process or in a worker."""

    def __init__(self, config: AsrDataConfig, seed: int, epoch: int, training: bool, noise: CutSet | None) -> None:
        self.config, self.seed, self.epoch, self.training, self.noise = config, seed, epoch, training, noise
        augment = spec_augment(config.spec_augment) if training else None
        self.input_transforms = [] if augment is None else [augment]

    def __getitem__(self, item: tuple[int, CutSet]) -> Batch:
        number, cuts = item
        if self.training:  # SpecAugment uses all random generators; their state must not depend on what ran before
            seed_everything(self.seed, self.epoch, number, LOADING)
        dataset = K2SpeechRecognitionDataset(
            return_cuts=True,
            cut_transforms=self._cut_transforms(number),
            input_transforms=self.input_transforms,
            input_strategy=self._input_strategy(),
        )
        batch: Batch = dataset[cuts]
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


def _joined(sets: Sequence[CutSet]) -> CutSet:
    """The cuts of one set after those of another."""
    return sum(sets[1:], start=sets[0])


def _digest(cuts: CutSet) -> str:
    """Number of cuts, hours, and a hash of the ids, recordings, times and texts."""
    durations: list[float] = []

    def lines() -> Iterator[bytes]:
        for c in cuts:
            durations.append(c.duration)
            texts = " ".join(s.text for s in c.supervisions)
            yield f"{c.id}\t{c.recording_id}\t{c.start}\t{c.duration}\t{texts}\n".encode()

    digest = digest_parts(lines())[:16]
    return f"{len(durations)} cuts, {sum(durations) / 3600:.2f} h, sha256 {digest}"
