"""Computes and stores the features of windows, a few hundred windows per job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet, LilcomChunkyWriter, MonoCut
from lhotse.utils import fastcopy

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.workflow.executor import Executor

CUTS_PER_FILE = 500  # fixed, so that the files do not depend on the number of workers


@dataclass(frozen=True)
class _Job:
    """The windows of one file."""

    cuts: list[MonoCut]
    path: Path


def store_features(cuts: CutSet, folder: Path, executor: Executor) -> CutSet:
    """Compute the features of cuts and store them in files of a folder.

    Args:
      cuts: windows whose recordings are on disk.
      folder: where the files go.
      executor: where features are computed.
    Returns:
      The cuts with their features.
    """
    if not len(cuts):
        return cuts
    folder.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(list(cuts), folder)
    return CutSet.from_cuts([cut for stored in executor.map(_store, jobs, folder.name) for cut in stored])


def with_storage_in(cuts: CutSet, folder: Path) -> CutSet:
    """The cuts with `folder` as the place of their feature files, to which the files will be moved."""
    return CutSet.from_cuts(
        [
            fastcopy(
                cut, features=fastcopy(cut.features, storage_path=str(folder / Path(cut.features.storage_path).name))
            )
            for cut in cuts
        ]
    )


def _jobs(cuts: Sequence[MonoCut], folder: Path) -> Iterator[_Job]:
    for number, begin in enumerate(range(0, len(cuts), CUTS_PER_FILE)):
        yield _Job(list(cuts[begin : begin + CUTS_PER_FILE]), folder / f"feats-{number:05d}.lca")


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
