"""The data module that icefall's train.py and decode.py import, over this recipe's cuts and batches.

Found before icefall's own module of this name, and made from it, so that it has all of its options. What differs:
training sees the batches that this recipe's trainer sees (by cuts, seed and epoch), augmented as they are; test-clean
is the test part, test-other the dev part. Runs in icefall's environment, so it imports on CPython 3.9.
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

from ml2021.asr.train.config import AsrDataConfig, SpecAugmentConfig
from ml2021.asr.train.data import AsrDataModule, Batch


def _icefalls_own() -> Any:
    """icefall's module of this name: the next one on the path."""
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


_Base: Any = _icefalls_own().LibriSpeechAsrDataModule


class LibriSpeechAsrDataModule(_Base):  # type: ignore[misc]
    """Under the name that icefall's scripts import."""

    def __init__(self, args: argparse.Namespace) -> None:
        super().__init__(args)
        content = json.loads(args.ml2021_config.read_text(encoding="utf-8"))
        self._data = _TrainData(args.manifest_dir, _data_config(content["data"]), content["train"]["seed"])
        self._eval_duration = float(args.eval_max_duration)

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """icefall's options; the recipe's configuration; and values that train.py has no options for."""
        super().add_arguments(parser)
        group = parser.add_argument_group("of ml2021")
        group.add_argument("--ml2021-config", type=Path, required=True, help="config.json of an experiment folder")
        group.add_argument(
            "--eval-max-duration", type=float, default=200.0, help="seconds of audio a batch of dev, test"
        )
        group.add_argument("--warm-step", type=int, default=2000, help="steps until the pruned loss counts in full")
        group.add_argument("--log-interval", type=int, default=50, help="steps between log lines")

    @lru_cache  # noqa: B019
    def train_all_shuf_cuts(self) -> CutSet:
        """Train, with all speeds."""
        return self._data.train_cuts().to_eager()

    train_clean_100_cuts = train_all_shuf_cuts

    @lru_cache  # noqa: B019
    def dev_clean_cuts(self) -> CutSet:
        """The dev part."""
        return self._data.cuts("dev").to_eager()

    def dev_other_cuts(self) -> CutSet:
        """Nothing more."""
        return CutSet.from_cuts([])

    def test_clean_cuts(self) -> CutSet:
        """The test part."""
        return self._data.cuts("test").to_eager()

    test_other_cuts = dev_clean_cuts

    def train_dataloaders(self, cuts_train: CutSet, sampler_state_dict: dict[str, Any] | None = None) -> _TrainBatches:
        """Batches of the cuts that icefall's script has left in."""
        self._data.kept = cuts_train.to_eager()
        return _TrainBatches(self._data)

    def valid_dataloaders(self, cuts_valid: CutSet) -> _EvalBatches:
        """Batches of dev, short cuts first."""
        return _EvalBatches(self._data, "dev", self._eval_duration)

    def test_dataloaders(self, cuts: CutSet) -> _EvalBatches:
        """Batches of dev or test, short cuts first."""
        is_dev = set(cuts.ids) == set(self.dev_clean_cuts().ids)
        return _EvalBatches(self._data, "dev" if is_dev else "test", self._eval_duration)


class _TrainData(AsrDataModule):
    """This recipe's batches, of the cuts that are kept."""

    kept: CutSet | None = None

    def train_cuts(self) -> CutSet:
        return super().train_cuts() if self.kept is None else self.kept


class _TrainSampler:
    """The plan of an epoch: the cuts of each batch, of this process where there are several."""

    def __init__(self, data: AsrDataModule) -> None:
        self.data, self.epoch = data, 1

    def set_epoch(self, epoch: int) -> None:
        """icefall counts epochs from 0 here."""
        self.epoch = epoch + 1

    def numbered(self) -> Iterator[tuple[int, CutSet]]:
        """(number in the epoch, cuts); every process gets as many."""
        rank, size = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        plan = enumerate(self.data.train_plan(self.epoch))
        while len(group := list(islice(plan, size))) == size:
            yield group[rank]

    def __iter__(self) -> Iterator[CutSet]:
        return (cuts for _, cuts in self.numbered())

    def state_dict(self) -> dict[str, int]:
        """For the checkpoint."""
        return {"epoch": self.epoch}


class _Dataset:
    """cuts -> batch, for the batches that icefall tries before training."""

    def __init__(self, data: AsrDataModule) -> None:
        self.data = data

    def __getitem__(self, cuts: CutSet) -> Batch:
        return next(self.data.load_train(iter([(0, cuts)]), 1))


class _TrainBatches:
    """What icefall takes of a DataLoader of training batches."""

    def __init__(self, data: AsrDataModule) -> None:
        self.data, self.sampler, self.dataset = data, _TrainSampler(data), _Dataset(data)

    def __iter__(self) -> Iterator[Batch]:
        return self.data.load_train(self.sampler.numbered(), self.sampler.epoch)


class _EvalBatches:
    """And of one of dev or test."""

    def __init__(self, data: AsrDataModule, part: str, max_duration: float) -> None:
        self.data, self.part, self.max_duration = data, part, max_duration

    def __iter__(self) -> Iterator[Batch]:
        return self.data.eval_batches(self.part, self.max_duration)


def _data_config(values: dict[str, Any]) -> AsrDataConfig:
    """From config.json, which was checked when it was written (our reader of configurations needs Python 3.10)."""
    plain: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k != "spec_augment"
    }
    return AsrDataConfig(spec_augment=SpecAugmentConfig(**values["spec_augment"]), **plain)
