"""Features of windows, computed and stored a few hundred windows at a time, wherever the executor is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse import CutSet, LilcomChunkyWriter, MonoCut
from lhotse.utils import fastcopy

from lhotse_prep.audio.fbank import fbank_extractor
from lhotse_prep.workflow.executor import Executor

CUTS_PER_FILE = 500  # so that a file, and what is in it, does not depend on how many workers there are


@dataclass(frozen=True)
class _Job:
    """The windows of one file."""

    cuts: list[MonoCut]
    path: Path


def store_features(cuts: CutSet, folder: Path, executor: Executor) -> CutSet:
    """The cuts with features, which are in files of a folder.

    Args:
      cuts: windows, whose recordings are on disk.
      folder: where the files are written.
      executor: where the work is done.
    """
    if not len(cuts):
        return cuts
    folder.mkdir(parents=True, exist_ok=True)
    jobs = _jobs(list(cuts), folder)
    return CutSet.from_cuts([cut for done in executor.map(_store, jobs, folder.name) for cut in done])


def with_storage_in(cuts: CutSet, folder: Path) -> CutSet:
    """The cuts, with the files of their features in another folder, where they will be."""
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
    """One file; this runs in a worker. One thread: the sums of more come in another order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractor = fbank_extractor()
        with LilcomChunkyWriter(job.path) as storage:
            return [cut.compute_and_store_features(extractor, storage) for cut in job.cuts]
    finally:
        torch.set_num_threads(threads)
