"""Batches of cuts for the recogniser, from Lhotse's samplers and dataset.

The batches of an epoch are first planned, as lists of cuts without their data, and then loaded, optionally by worker
processes. The grouping into batches depends only on seed and epoch; noise and masks of a batch depend only on seed,
epoch and the number of the batch; rooms, clipping, low-pass and codecs of a cut only on seed, epoch and its id. So each
process can plan the whole epoch and load its part of it, and a resumed training plans the epoch again and goes on where
it stopped. A plan holds BUFFER_SIZE cuts at a time.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.cut.data import DataCut
from lhotse.dataset import DynamicBucketingSampler, SimpleCutSampler

from lhotse_prep.manifests.files import AUDIO, FEATS
from lhotse_prep.windows.read import read_windows
from lhotse_prep.windows.read_shar import Shar
from lhotse_prep.workflow.digests import digest_bytes
from lhotse_prep.workflow.errors import ConfigError, DataError
from ml2021.asr.train.config import AsrDataConfig
from ml2021.asr.train.loading import Batch, BatchLoader
from ml2021.asr.train.replay import Replay
from ml2021.asr.train.sound import SoundAugment, read_noises, read_rirs, require_codecs
from ml2021.training.seeds import derived_seed

BUFFER_SIZE = 20_000  # cuts among which the sampler draws
STORED_SPEED = "ml2021_cuts_train_sp"  # beginning of the names of stage 4's files of other speeds


@dataclass(frozen=True)
class _Size:
    """What is trained on or validated with."""

    sets: tuple[int, ...]  # cuts of each set
    seconds: float
    digest: str

    def __str__(self) -> str:
        return f"{sum(self.sets)} cuts, {self.seconds / 3600:.2f} h, sha256 {self.digest[:16]}"


class _Unpacked:
    """Pickled cuts, which take half the memory of cuts, one after the other; for CutSet."""

    def __init__(self, packed: list[bytes]) -> None:
        self.packed = packed

    def __iter__(self) -> Iterator[Cut]:
        return map(pickle.loads, self.packed)


class AsrDataModule:
    """Train, dev and test cuts in a folder of stage 4; train and dev may be in folders with Lhotse Shar instead."""

    def __init__(self, cuts_dir: Path | None, config: AsrDataConfig, seed: int, two_views: bool = False) -> None:
        """
        Args:
          cuts_dir: stage 4's folder; None: no part is read from it.
          config: batches, features, augmentation, and the folders with Shar.
          seed: of the order of the cuts, and of augmentation.
          two_views: load two views of each utterance to train on, all first ones before all second ones (CR-CTC).
        Raises:
          DataError: a folder with Shar has none, or a file of a shard is missing.
        """
        self.cuts_dir, self.config, self.seed, self.two_views = cuts_dir, config, seed, two_views
        self.needs = AUDIO if config.on_the_fly_feats else FEATS
        self._train_shar = [Shar(Path(folder), self.needs) for folder in config.shar_dir]
        self._dev_shar = [Shar(Path(folder), self.needs) for folder in config.shar_dev_dir]
        self.replay = Replay(config.mux_cuts, config.mux_weights, self.needs, seed)
        self._train_size: _Size | None = None
        self._replay_size: _Size | None = None
        self._train_loader: BatchLoader | None = None

    def cuts(self, part: str) -> CutSet:
        """The windows of a part; the supervisions of each window are joined into one."""
        if part == "dev" and self._dev_shar:
            return _joined([shar.windows() for shar in self._dev_shar])
        if self.cuts_dir is None:
            raise ConfigError(f"no folder of stage 4 to read the {part} part from: give --manifest-dir")
        return read_windows(self.cuts_dir, part, self.needs)

    def train_sets(self, epoch: int | None = None) -> list[CutSet]:
        """The windows of the train part, and their copies at each other speed, stored by stage 4 or made on the fly.

        Args:
          epoch: if given, shards are in an order that the seed and the epoch decide.
        Raises:
          ConfigError: a speed is there twice.
        """
        if self._train_shar:
            speeds = (1.0, *self.config.speed_factors)
            pairs = [(shar, speed) for shar in self._train_shar for speed in speeds]
            seeds = [None if epoch is None else derived_seed(self.seed, epoch, i) for i in range(len(pairs))]
            return [shar.windows(speed, seed) for (shar, speed), seed in zip(pairs, seeds)]
        stored = sorted(self.cuts_dir.glob(f"{STORED_SPEED}*.jsonl.gz")) if self.cuts_dir is not None else []
        speeds_stored = [path.name.removeprefix(STORED_SPEED).removesuffix(".jsonl.gz") for path in stored]
        for factor in self.config.speed_factors:
            if f"{factor:g}" in speeds_stored:
                raise ConfigError(
                    f"{self.cuts_dir} has windows at speed {factor:g} already (windows.speed_factors of prep.yaml): "
                    "take it out of data.speed_factors"
                )
        return [
            self.cuts("train"),
            *(self.cuts(f"train_sp{speed}") for speed in speeds_stored),
            *(self.cuts("train").drop_features().perturb_speed(factor) for factor in self.config.speed_factors),
        ]

    def train_cuts(self) -> CutSet:
        """The cuts of train_sets, one set after the other."""
        return _joined(self.train_sets())

    def train_plan(self, epoch: int) -> Iterator[CutSet]:
        """The cuts of each batch of an epoch; grouping and order follow from seed and epoch."""
        sizes = self._size_of_train().sets
        num_of_train = sum(sizes)
        num_cuts = round(num_of_train * (1 + sum(self.replay.weights)))
        has_all_in_buffer = num_cuts <= BUFFER_SIZE  # which the sampler shuffles
        sets = self.train_sets(None if has_all_in_buffer else epoch)
        if len(sets) == 1 or (has_all_in_buffer and not self.config.shar_weights):
            cuts = _joined(sets)
        else:
            per_folder = len(sets) // max(1, len(self._train_shar))
            weights = [w for w in self.config.shar_weights for _ in range(per_folder)] or [max(1, n) for n in sizes]
            cuts = CutSet.mux(*sets, weights=weights, seed=self.seed + epoch)
        if self.replay.weights:
            cuts = self.replay.mixed(cuts, num_of_train, self._size_of_replay().sets, epoch)
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
        self.prepare()
        assert self._train_loader is not None
        return self._train_loader.load(numbered, epoch)

    def prepare(self) -> None:
        """Read and check what windows are augmented with, once; a training calls it before it begins.

        Raises:
          DataError: a file with noises or impulse responses, or one of these, is missing or not as it must be.
          ConfigError: libsndfile cannot use one of the codecs.
        """
        if self._train_loader is None:
            sound = self._sound() if self.config.sound_augment.is_on else None
            self._train_loader = BatchLoader(self.config, self.seed, True, self._noise(), sound, self.two_views)

    def eval_plan(self, part: str, max_duration: float) -> Iterator[CutSet]:
        """The cuts of each batch of a part, the shortest first; all cuts of the part are in memory, packed."""
        packed = sorted((cut.duration, cut.id, pickle.dumps(cut)) for cut in self.cuts(part))
        if packed:
            ordered = CutSet(_Unpacked([content for _, _, content in packed]))
            yield from SimpleCutSampler(ordered, max_duration=max_duration, shuffle=False, rank=0, world_size=1)

    def load_eval(self, batches: Iterator[CutSet]) -> Iterator[Batch]:
        """Features and texts of planned batches, not augmented, with the cuts in `supervisions.cut`."""
        return BatchLoader(self.config, self.seed, training=False).load(enumerate(batches), 0)

    def eval_batches(self, part: str, max_duration: float) -> Iterator[Batch]:
        """Load all batches of a part."""
        return self.load_eval(self.eval_plan(part, max_duration))

    def describe(self) -> dict[str, str]:
        """Size of train and dev, with a hash of their ids, times and texts."""
        dev = _size_of_shar(self._dev_shar) if self._dev_shar else _size_of([self.cuts("dev")])
        replay = {"mux cuts": str(self._size_of_replay())} if self.replay.weights else {}
        return {"train cuts": str(self._size_of_train()), "dev cuts": str(dev), **replay}

    def batching(self) -> str:
        """The values that decide the grouping of cuts into batches."""
        c = self.config
        text = f"max_duration {c.max_duration:g}, num_buckets {c.num_buckets}, seed {self.seed}"
        if self._train_shar:
            text += f", shards {'+'.join(str(len(shar.shards)) for shar in self._train_shar)}"
        if self.replay.weights:
            text += f", mux weights {':'.join(f'{w:g}' for w in self.replay.weights)}"
        return f"{text}, weights {':'.join(f'{w:g}' for w in c.shar_weights)}" if c.shar_weights else text

    def _size_of_train(self) -> _Size:
        """From all cuts of train, which are read once for it."""
        if self._train_size is None:
            if self._train_shar:
                self._train_size = _size_of_shar(self._train_shar, 1 + len(self.config.speed_factors))
            else:
                self._train_size = _size_of(self.train_sets())
        return self._train_size

    def _size_of_replay(self) -> _Size:
        """From all cuts of mux_cuts, which are read once for it."""
        if self._replay_size is None:
            self._replay_size = _size_of(self.replay.sets())
            if not all(self._replay_size.sets):
                empty = self.config.mux_cuts[self._replay_size.sets.index(0)]
                raise DataError(f"{empty} has no windows with text; take it out of data.mux_cuts")
        return self._replay_size

    def _noise(self) -> CutSet | None:
        return None if self.config.noise_cuts is None else read_noises(Path(self.config.noise_cuts), self.needs)

    def _sound(self) -> SoundAugment:
        config = self.config.sound_augment
        if config.codec_probability > 0:
            require_codecs(config.codecs)
        rirs = [] if config.rir_recordings is None else read_rirs(Path(config.rir_recordings))
        return SoundAugment(config, self.seed, rirs)


def _joined(sets: Sequence[CutSet]) -> CutSet:
    """The cuts of one set after those of another."""
    return sum(sets[1:], start=sets[0])


def _size_of(sets: Sequence[CutSet]) -> _Size:
    """Counts and hours, and a hash of the ids, recordings, times and texts."""
    digest, seconds, counts = hashlib.sha256(), 0.0, [0] * len(sets)
    for i, cuts in enumerate(sets):
        for c in cuts:
            counts[i] += 1
            seconds += c.duration
            texts = " ".join(s.text for s in c.supervisions)
            digest.update(f"{c.id}\t{_recording_id(c)}\t{c.start}\t{c.duration}\t{texts}\n".encode())
    return _Size(tuple(counts), seconds, digest.hexdigest())


def _recording_id(cut: Cut) -> str:
    of_data = isinstance(cut, DataCut) and (cut.has_recording or cut.has_features)
    return str(cut.recording_id if of_data else cut.supervisions[0].recording_id)


def _size_of_shar(folders: Sequence[Shar], num_speeds: int = 1) -> _Size:
    """The same of Shar; hours are those at the original speed."""
    sizes = [shar.size for shar in folders]
    counts = tuple(size.num_windows for size in sizes for _ in range(num_speeds))
    return _Size(counts, sum(size.seconds for size in sizes), digest_bytes(" ".join(s.digest for s in sizes).encode()))
