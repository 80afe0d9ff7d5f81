"""Where stage 3 computes, and where it keeps results until it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lhotse_prep.alignment.lecture_times import LectureTimes, Results
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.workflow.digests import digest_bytes, digest_json
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from ml2021.asr.aligner.ctc_times import CtcTimes
from ml2021.asr.aligner.kept_log_probs import KeptLogProbs
from ml2021.asr.aligner.prepared import PreparedLecture
from ml2021.training.checkpoint import load_checkpoint
from ml2021.training.launch import Processes


@dataclass(frozen=True)
class Machinery:
    """The device, the processes and the folder of stage 3's work."""

    device: torch.device
    executor: Executor = field(default_factory=SerialExecutor)  # aligns
    processes: Processes = field(default_factory=Processes)  # train
    work_dir: Path | None = None  # for results, by which a later run goes on; several processes need it

    def results(self, name: str, options: object) -> Results | None:
        """The results of one kind of work, in a subfolder; options: what they depend on besides the lecture."""
        return None if self.work_dir is None else Results(self.work_dir / name, digest_json(options))

    def kept_log_probs(self, weights: Path) -> KeptLogProbs | None:
        """Those of the model with these weights; on a GPU none are kept."""
        if self.work_dir is None or self.device.type != "cpu":
            return None
        tensors = load_checkpoint(weights)["model"]
        digest = digest_bytes(b"".join(x.numpy().tobytes() for x in tensors.values()))
        return KeptLogProbs(self.work_dir / "log-probs" / digest)

    def batched(self, work: CtcTimes) -> Callable[[Iterable[Lecture | PreparedLecture]], Iterator[LectureTimes]] | None:
        """How to align several lectures together, where that is quicker."""
        return work.together if isinstance(self.executor, SerialExecutor) and work.is_batched else None
