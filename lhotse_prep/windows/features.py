"""Computes and stores the features of windows, a few hundred windows per job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from lhotse import LilcomChunkyWriter, MonoCut
from lhotse.utils import fastcopy

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.workflow.executor import Executor

CUTS_PER_FILE = 500  # fixed, so that the files do not depend on the number of workers


@dataclass(frozen=True)
class _Job:
    """The windows of one file."""

    cuts: list[MonoCut]
    path: Path


def store_features(cuts: Iterable[MonoCut], folder: Path, executor: Executor) -> Iterator[MonoCut]:
    """Compute the features of cuts and store them in files of a folder.

    Args:
      cuts: windows whose recordings are on disk; they are read a few jobs ahead of the results.
      folder: where the files go.
      executor: where features are computed.
    Yields:
      The cuts with their features.
    """
    for stored in executor.map(_store, _jobs(cuts, folder), folder.name):
        yield from stored


def with_storage_in(cut: MonoCut, folder: Path) -> MonoCut:
    """The cut with `folder` as the place of its feature file, to which the file will be moved."""
    path = str(folder / Path(cut.features.storage_path).name)
    return fastcopy(cut, features=fastcopy(cut.features, storage_path=path))


def _jobs(cuts: Iterable[MonoCut], folder: Path) -> Iterator[_Job]:
    left = iter(cuts)
    for number in count():
        in_file = list(islice(left, CUTS_PER_FILE))
        if not in_file:
            return
        folder.mkdir(parents=True, exist_ok=True)
        yield _Job(in_file, folder / f"feats-{number:05d}.lca")


def _store(job: _Job) -> list[MonoCut]:
    """Write one file; this runs in a worker. It uses one thread: more threads add up in another order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractor = fbank_extractor()
        with LilcomChunkyWriter(job.path) as storage:
            return [cut.compute_and_store_features(extractor, storage) for cut in job.cuts]
    finally:
        torch.set_num_threads(threads)
