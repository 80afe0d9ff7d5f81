"""Stage 3: aligns all lectures with a given model, or with an aligner that is trained on them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from lhotse_prep.alignment import corpus
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.corpus import TimedLecture
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.workflow.executor import Executor, SerialExecutor
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.given_model import time_with_model
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.trained_times import time_with_trained_model
from ml2021.training.launch import Processes

WORK = "work"  # subfolder for what is kept until the stage ends


def align_corpus(
    manifests: Path,
    truth: Path,
    out_dir: Path,
    config: AlignerConfig,
    stretch_config: StretchConfig,
    executor: Executor | None = None,
    processes: Processes | None = None,
) -> None:
    """Write stage 3's files with lhotse_prep.alignment.corpus.align_corpus, and a trained aligner to out_dir/aligner.

    Args:
      manifests: stage 1's folder.
      truth: folder with NAME.json, [[start, end, "tokens"], ...]; it may be absent, and only the scores use it.
      out_dir: where to write.
      config: the acoustic model and its training.
      stretch_config: where supervisions end.
      executor: aligns the lectures; None: this process.
      processes: train the aligner; None: this process.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machinery = Machinery(device, executor or SerialExecutor(), processes or Processes(), out_dir / WORK)

    def time_words(lectures: Iterable[Lecture]) -> Iterator[TimedLecture]:
        if config.model:
            return time_with_model(config.model, lectures, config, machinery)
        return time_with_trained_model(lectures, out_dir / "aligner", config, machinery)

    corpus.align_corpus(manifests, out_dir, time_words, stretch_config, truth)
    shutil.rmtree(out_dir / WORK, ignore_errors=True)
