"""Stage 3: aligns all lectures with a given model, or with an aligner that is trained on them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from lhotse_prep.alignment import corpus
from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.corpus import Lecture, Regions, Times
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.given_model import times_of_model
from ml2021.asr.aligner.rounds import align_lectures, read_lecture

logger = logging.getLogger(__name__)


def align_corpus(
    manifests: Path, truth: Path, out_dir: Path, config: AlignerConfig, stretch_config: StretchConfig
) -> None:
    """Write stage 3's files with lhotse_prep.alignment.corpus.align_corpus, and a trained aligner to out_dir/aligner.

    Args:
      manifests: stage 1's folder.
      truth: folder with NAME.json, [[start, end, "tokens"], ...]; it may be absent, and only the scores use it.
      out_dir: where to write.
      config: the acoustic model and its training.
      stretch_config: where supervisions end.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def time_words(lectures: Sequence[Lecture]) -> tuple[Times, Regions]:
        if config.model:
            return times_of_model(config.model, lectures, config, device)
        return times_of_trained_model(lectures, out_dir / "aligner", config, device)

    corpus.align_corpus(manifests, out_dir, time_words, stretch_config, truth)


def times_of_trained_model(
    lectures: Sequence[Lecture], exp_dir: Path, config: AlignerConfig, device: torch.device
) -> tuple[Times, Regions]:
    """Times of words, and stretches of speech, of each lecture, from an aligner that is trained on them."""
    prepared = []
    for x in tqdm(lectures, desc="reading", disable=None, leave=False):
        prepared.append(read_lecture(x.id, x.samples(), x.words))
        num_words, num_regions = len(prepared[-1].words), len(prepared[-1].regions)
        logger.info(
            "%s: %.0f s, %d words, %d stretches of speech", x.id, x.supervision.duration, num_words, num_regions
        )
    train_ids = {x.id for x in lectures if x.part in config.train_parts}
    if not train_ids:
        raise DataError(f"no lectures in the parts that train the aligner ({', '.join(config.train_parts)})")
    logger.info("%d lectures read, %d of them train the aligner", len(prepared), len(train_ids))
    return align_lectures(prepared, train_ids, config, exp_dir, device), {x.id: x.regions for x in prepared}
