"""Replay: windows of other data among those of the train part, so that fine-tuning does not unlearn the other data.

As icefall's --use-mux, but an epoch ends with the train part, each of whose windows it has once. The other data go on
in each epoch where they stopped in the one before, and begin anew when they are used up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from lhotse import CutSet
from lhotse.cut import Cut

from lhotse_prep.windows.read import open_windows
from lhotse_prep.workflow.errors import DataError
from ml2021.training.seeds import derived_seed


class Replay:
    """Manifests of other windows, with weights."""

    def __init__(self, paths: Sequence[str], weights: Sequence[float], needs: str, seed: int) -> None:
        """
        Args:
          paths: CutSet files of Lhotse; they are read lazily, again in each epoch.
          weights: windows of each that come with a window of the train part, on average.
          needs: AUDIO or FEATS.
          seed: decides, with the epoch, which windows come when.
        """
        self.paths, self.weights, self.needs, self.seed = [Path(p) for p in paths], tuple(weights), needs, seed

    def sets(self) -> list[CutSet]:
        """The windows of each manifest that have text, once.

        Raises:
          DataError: there is no such file; or, in iteration, it is damaged (see read_windows).
        """
        for path in self.paths:
            if not path.is_file():
                raise DataError(f"no {path}; data.mux_cuts must name CutSet files of Lhotse (.jsonl.gz)")
        return [open_windows(path, self.needs) for path in self.paths]

    def mixed(self, cuts: CutSet, num_cuts: int, sizes: Sequence[int], epoch: int) -> CutSet:
        """The cuts of an epoch, lazily, with windows of the manifests among them.

        Args:
          cuts: num_cuts windows of the train part.
          sizes: numbers of windows in the manifests, each at least 1.
          epoch: from 1.
        """
        others = []
        for windows, size, weight in zip(self.sets(), sizes, self.weights):
            start = (epoch - 1) * round(num_cuts * weight) % size
            others.append(CutSet(_Endless(windows, start)))
        return CutSet.mux(
            cuts, *others, weights=[1.0, *self.weights], stop_early=True, seed=derived_seed(self.seed, epoch)
        )


class _Endless:
    """Cuts from a place on, over and over; for CutSet."""

    def __init__(self, cuts: CutSet, start: int) -> None:
        self.cuts, self.start = cuts, start

    def __iter__(self) -> Iterator[Cut]:
        yield from islice(self.cuts, self.start, None)
        while True:
            yield from self.cuts
