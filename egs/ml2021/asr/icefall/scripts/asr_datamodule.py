"""The data module that icefall's train.py and decode.py import, over this recipe's cuts and batches.

It comes before icefall's own module of this name on PYTHONPATH and inherits from it, so it has all of its options.
Differences: training gets the same batches as this recipe's trainer (same cuts, seed, epoch and augmentation);
test-clean is the test part and test-other the dev part. It runs in icefall's environment, so it must import on
Python 3.9.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet

from ml2021.asr.train.config import AsrDataConfig, SoundAugmentConfig, SpecAugmentConfig
from ml2021.asr.train.data import AsrDataModule
from ml2021.asr.train.loading import Batch


def _icefall_module() -> Any:
    """Import icefall's module of the same name: the next one on sys.path."""
    here = Path(__file__).resolve()
    for folder in sys.path:
        path = Path(folder or ".") / here.name
        if path.is_file() and path.resolve() != here:
            spec = importlib.util.spec_from_file_location("icefall_asr_datamodule", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise ImportError(f"no icefall recipe with an {here.name} on PYTHONPATH")


_Base: Any = _icefall_module().LibriSpeechAsrDataModule


class LibriSpeechAsrDataModule(_Base):  # type: ignore[misc]
    """The data module, under the name that icefall's scripts import."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        content = json.loads(args.ml2021_config.read_text(encoding="utf-8"))
        self._data = _TrainData(args.manifest_dir, _data_config(content["data"]), content["train"]["seed"])
        self._eval_duration = float(args.eval_max_duration)

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add icefall's options, this recipe's configuration, and values that train.py has no options for."""
        super().add_arguments(parser)
        group = parser.add_argument_group("ml2021")
        group.add_argument("--ml2021-config", type=Path, required=True, help="config.json of an experiment folder")
        group.add_argument(
            "--eval-max-duration", type=float, default=200.0, help="seconds of audio in a batch of dev or test"
        )
        group.add_argument("--warm-step", type=int, default=2000, help="steps until the pruned loss has full weight")
        group.add_argument("--log-interval", type=int, default=50, help="steps between log lines")

    @lru_cache  # noqa: B019
    def train_all_shuf_cuts(self) -> CutSet:
        """The train part, with all speeds."""
        return self._data.train_cuts().to_eager()

    train_clean_100_cuts = train_all_shuf_cuts

    @lru_cache  # noqa: B019
    def dev_clean_cuts(self) -> CutSet:
        """The dev part."""
        return self._data.cuts("dev").to_eager()

    def dev_other_cuts(self) -> CutSet:
        """Empty: the dev part is in dev_clean_cuts."""
        return CutSet.from_cuts([])

    def test_clean_cuts(self) -> CutSet:
        """The test part."""
        return self._data.cuts("test").to_eager()

    test_other_cuts = dev_clean_cuts

    def train_dataloaders(self, cuts_train: CutSet, sampler_state_dict: dict[str, Any] | None = None) -> _TrainBatches:
        """Batches of the cuts that icefall's script kept."""
        self._data.kept = cuts_train.to_eager()
        return _TrainBatches(self._data)

    def valid_dataloaders(self, cuts_valid: CutSet) -> _EvalBatches:
        """Batches of the dev part, short cuts first."""
        return _EvalBatches(self._data, "dev", self._eval_duration)

    def test_dataloaders(self, cuts: CutSet) -> _EvalBatches:
        """Batches of the dev or test part, short cuts first."""
        is_dev = set(cuts.ids) == set(self.dev_clean_cuts().ids)
        return _EvalBatches(self._data, "dev" if is_dev else "test", self._eval_duration)


class _TrainData(AsrDataModule):
    """This recipe's batches, made from the cuts that icefall kept."""

    kept: CutSet | None = None

    def train_sets(self, epoch: int | None = None) -> list[CutSet]:
        sets = super().train_sets(epoch)
        if self.kept is None:
            return sets
        kept = {c.id: c for c in self.kept}
        return [CutSet.from_cuts([kept[c.id] for c in cuts if c.id in kept]) for cuts in sets]


class _TrainSampler:
    """The cuts of each batch of an epoch; in distributed training, only the batches of this process."""

    def __init__(self, data: AsrDataModule) -> None:
        self.data, self.epoch = data, 1

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which icefall counts from 0 here."""
        self.epoch = epoch + 1

    def numbered(self) -> Iterator[tuple[int, CutSet]]:
        """Yield (number in the epoch, cuts); every process gets the same number of batches."""
        rank, size = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        plan = enumerate(self.data.train_plan(self.epoch))
        while len(group := list(islice(plan, size))) == size:
            yield group[rank]

    def __iter__(self) -> Iterator[CutSet]:
        return (cuts for _, cuts in self.numbered())

    def state_dict(self) -> dict[str, int]:
        """The state that goes into a checkpoint."""
        return {"epoch": self.epoch}


class _Dataset:
    """Maps cuts to a batch, for the batches that icefall tries out before training."""

    def __init__(self, data: AsrDataModule) -> None:
        self.data = data

    def __getitem__(self, cuts: CutSet) -> Batch:
        return next(self.data.load_train(iter([(0, cuts)]), 1))


class _TrainBatches:
    """The part of a DataLoader's interface that icefall uses for training."""

    def __init__(self, data: AsrDataModule) -> None:
        self.data, self.sampler, self.dataset = data, _TrainSampler(data), _Dataset(data)

    def __iter__(self) -> Iterator[Batch]:
        return self.data.load_train(self.sampler.numbered(), self.sampler.epoch)


class _EvalBatches:
    """The part of a DataLoader's interface that icefall uses for dev and test."""

    def __init__(self, data: AsrDataModule, part: str, max_duration: float) -> None:
        self.data, self.part, self.max_duration = data, part, max_duration

    def __iter__(self) -> Iterator[Batch]:
        return self.data.eval_batches(self.part, self.max_duration)


def _data_config(values: dict[str, Any]) -> AsrDataConfig:
    """Build the data configuration from config.json without strict_config, which needs Python 3.10.

    The values were checked when config.json was written.
    """
    sections = {"spec_augment": SpecAugmentConfig, "sound_augment": SoundAugmentConfig}
    given = {name: section(**_with_tuples(values[name])) for name, section in sections.items() if name in values}
    return AsrDataConfig(**_with_tuples({k: v for k, v in values.items() if k not in sections}), **given)


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
