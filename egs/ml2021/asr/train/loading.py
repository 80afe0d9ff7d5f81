"""Loads planned batches: data, sound, noise, features and masks; in the training process or in worker processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import CutMix, K2SpeechRecognitionDataset, SpecAugment
from lhotse.dataset.input_strategies import BatchIO, OnTheFlyFeatures, PrecomputedFeatures
from torch.utils.data import DataLoader, Dataset

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.windows.shar_data import load_window, shar_item
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.train.augment import TwoViews, spec_augment
from ml2021.asr.train.config import NUM_MEL_BINS, AsrDataConfig
from ml2021.asr.train.sound import SoundAugment
from ml2021.training.seeds import derived_seed, seed_everything

# that of K2SpeechRecognitionDataset, plus `ids`: the cut ids by row of `inputs`; with two views, these are the rows of
# the first views, and those of the second views follow
Batch = dict[str, Any]
LOADING = 0  # last component of the seeds for loading; the trainer uses 1
PREFETCHED = 4  # batches that each worker process loads ahead
_Planned = tuple[int, int, CutSet]  # epoch, number, cuts


class BatchLoader:
    """Loads planned batches in worker processes, which stay from one epoch to the next, or in this process."""

    def __init__(
        self,
        config: AsrDataConfig,
        seed: int,
        training: bool,
        noise: CutSet | None = None,
        sound: SoundAugment | None = None,
        two_views: bool = False,
    ) -> None:
        self._dataset = _Loading(config, seed, training, noise, sound, two_views)
        self._num_workers = config.num_workers
        self._plan = _Plan()
        self._workers: DataLoader[Batch] | None = None
        self._in_use = False

    def load(self, numbered: Iterator[tuple[int, CutSet]], epoch: int) -> Iterator[Batch]:
        """Features and texts of planned (number, cuts), in this order.

        Raises:
          DataError: data are missing or damaged; the message names the cut and the file.
        """
        plan = ((epoch, number, cuts) for number, cuts in numbered)
        if self._in_use or not self._dataset.training:  # a DataLoader that keeps its workers iterates once at a time
            yield from _batches(self._data_loader(_Plan(plan), keep_workers=False))
            return
        self._in_use = True
        try:
            if self._workers is None:
                self._workers = self._data_loader(self._plan, keep_workers=True)
            self._plan.items = plan
            yield from _batches(self._workers)
        finally:
            self._in_use = False
            self._plan.items = None

    def _data_loader(self, plan: _Plan, keep_workers: bool) -> DataLoader[Batch]:
        options: dict[str, Any] = {"batch_size": None, "sampler": plan, "pin_memory": torch.cuda.is_available()}
        if self._num_workers:
            options |= {"num_workers": self._num_workers, "prefetch_factor": PREFETCHED}
            options["persistent_workers"] = keep_workers
        return DataLoader(self._dataset, **options)


class _Plan:
    """The sampler of a DataLoader: iterates once over the items that it is given."""

    def __init__(self, items: Iterator[_Planned] | None = None) -> None:
        self.items = items

    def __iter__(self) -> Iterator[_Planned]:
        return iter(()) if self.items is None else self.items


class _Loading(Dataset[Batch]):
    """(epoch, number, cuts) -> batch; runs in the training process or in a worker."""

    def __init__(
        self,
        config: AsrDataConfig,
        seed: int,
        training: bool,
        noise: CutSet | None,
        sound: SoundAugment | None,
        two_views: bool,
    ) -> None:
        self.config, self.seed, self.training, self.noise, self.sound = config, seed, training, noise, sound
        augment: SpecAugment | TwoViews | None = None
        if training and two_views:
            augment = TwoViews(config.spec_augment, config.time_mask_ratio)
        elif training:
            augment = spec_augment(config.spec_augment)
        self.input_transforms = [] if augment is None else [augment]

    def __getitem__(self, item: _Planned) -> Batch:
        """The batch; {"error": message} instead of a DataError, which torch would wrap in a worker's traceback."""
        epoch, number, cuts = item
        try:
            return self._batch(epoch, number, cuts)
        except DataError as e:
            return {"error": str(e)}

    def _batch(self, epoch: int, number: int, cuts: CutSet) -> Batch:
        if self.training:  # SpecAugment uses all random generators; their state must not depend on what ran before
            seed_everything(self.seed, epoch, number, LOADING)
        dataset = K2SpeechRecognitionDataset(
            return_cuts=True,
            cut_transforms=self._cut_transforms(epoch, number),
            input_transforms=self.input_transforms,
            input_strategy=self._input_strategy(),
        )
        loaded = CutSet.from_cuts([load_window(cut) for cut in cuts])
        try:
            batch: Batch = dataset[loaded]
        except Exception as e:  # Lhotse's readers raise all kinds for damaged data
            raise self._explained(cuts, loaded, e) from e
        num_bins = batch["inputs"].shape[-1]
        if num_bins != NUM_MEL_BINS:
            raise _wrong_bins(next(iter(cuts)), num_bins)
        supervisions = batch["supervisions"]
        rows = supervisions["sequence_idx"].tolist()
        batch["ids"] = [c.id for _, c in sorted(zip(rows, supervisions["cut"]), key=lambda pair: pair[0])]
        if self.training:
            del supervisions["cut"]
        elif any(shar_item(cut) for cut in cuts):
            planned = {cut.id: cut for cut in cuts}  # without their data
            supervisions["cut"] = [planned[cut.id] for cut in supervisions["cut"]]
        return batch

    def _explained(self, cuts: CutSet, loaded: CutSet, error: Exception) -> Exception:
        """A DataError that names the cut whose data cannot be read; the error itself if there is none."""
        kind = "audio" if self.config.on_the_fly_feats else "features"
        dataset = K2SpeechRecognitionDataset(input_strategy=self._input_strategy())
        for cut, with_data in zip(cuts, loaded):
            try:
                num_bins = dataset[CutSet.from_cuts([with_data])]["inputs"].shape[-1]
            except Exception as e:
                reason = " ".join(str(e).split())[:300]
                return DataError(
                    f"the {kind} of cut {cut.id} in {_place(cut, kind)} cannot be read ({type(e).__name__}: {reason}); "
                    "make them again"
                )
            if num_bins != NUM_MEL_BINS:
                return _wrong_bins(cut, num_bins)
        return error

    def _cut_transforms(self, epoch: int, number: int) -> list[Callable[[CutSet], CutSet]]:
        noise = []
        if self.noise is not None:
            rng = random.Random(derived_seed(self.seed, epoch, number, LOADING))
            noise.append(
                CutMix(
                    self.noise,
                    snr=self.config.noise_snr,
                    p=self.config.noise_probability,
                    pad_to_longest=False,
                    preserve_id=True,
                    seed=rng,
                )
            )
        if self.sound is None:
            return noise
        return [partial(self.sound.in_rooms, epoch=epoch), *noise, partial(self.sound.recorded, epoch=epoch)]

    def _input_strategy(self) -> BatchIO:
        return OnTheFlyFeatures(fbank_extractor()) if self.config.on_the_fly_feats else PrecomputedFeatures()


def _batches(loader: DataLoader[Batch]) -> Iterator[Batch]:
    try:
        for batch in loader:
            if "error" in batch:
                raise DataError(batch["error"])
            yield batch
    except RuntimeError as e:
        if "DataLoader worker" not in str(e):
            raise
        raise DataError(
            f"a process that loads features was ended from outside ({' '.join(str(e).split())[:200]}): memory or "
            "/dev/shm may be too small; lower num_workers"
        ) from e


def _wrong_bins(cut: Cut, num_bins: int) -> DataError:
    return DataError(
        f"the features of cut {cut.id} in {_place(cut, 'features')} have {num_bins} bins, and the model takes "
        f"{NUM_MEL_BINS}; make them again, or set data.on_the_fly_feats: true"
    )


def _place(cut: Cut, kind: str) -> str:
    """The file with the data of a cut."""
    if (item := shar_item(cut)) is not None:
        return f"{item.tar}, item {item.number + 1},"
    first = cut.tracks[0].cut if hasattr(cut, "tracks") else cut
    if kind == "audio":
        return str(first.recording.sources[0].source)
    return str(first.features.storage_path)
