"""Log-probs of lectures in files, since a model that has learned the lectures aligns them twice."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.lecture_times import Item, file_name
from lhotse_prep.workflow.files import whole_file

logger = logging.getLogger(__name__)
_FRAMES = 500  # in a block that is read
_COLUMNS = np.dtype("<i8")  # of V, which a file begins with
Blocks = Iterator[NDArray[np.float32]]  # (T, V) of a lecture, some frames at a time


@dataclass(frozen=True)
class KeptLogProbs:
    """The log-probs that one model gives for lectures, computed once where the disk has room; picklable.

    Attributes:
      folder: of this model; those beside it, of other models, are removed when the first file is written.
    """

    folder: Path

    def blocks(self, lecture: Item, compute: Callable[[], Blocks]) -> Blocks:
        """What `compute` gives for a lecture, from its file if there is one."""
        path = self.folder / f"{file_name(lecture.id)}-{lecture.content()}.f32"
        try:
            if not path.is_file():
                self._write(path, compute())
            num_columns = int(np.fromfile(path, _COLUMNS, 1)[0])
            log_probs = np.memmap(path, "<f4", "r", _COLUMNS.itemsize).reshape(-1, num_columns)
        except (OSError, ValueError, LookupError) as e:  # what is computed can be computed again
            logger.warning("lecture %s: its log-probs are not kept in %s (%s)", lecture.id, path, e)
            yield from compute()
            return
        for begin in range(0, len(log_probs), _FRAMES):
            yield np.array(log_probs[begin : begin + _FRAMES])

    def _write(self, path: Path, blocks: Blocks) -> None:
        for other in self.folder.parent.glob("*"):
            if other != self.folder:
                shutil.rmtree(other, ignore_errors=True)  # another process may do the same
        with whole_file(path, "wb") as f:
            for i, block in enumerate(blocks):
                if i == 0:
                    f.write(np.array(block.shape[1], _COLUMNS).tobytes())
                f.write(np.ascontiguousarray(block, "<f4").tobytes())
