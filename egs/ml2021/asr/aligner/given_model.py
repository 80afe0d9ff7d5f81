"""Stage 3 with a given model: no training, one lecture in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.alignment.corpus import Lecture, Regions, Times
from lhotse_prep.alignment.hypotheses import read_hypotheses
from lhotse_prep.alignment.matching import UNITS_PER_WORD, match_lectures
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.acoustic import Acoustic, load_acoustic
from ml2021.asr.aligner.config import AlignerConfig

logger = logging.getLogger(__name__)
_MIN_TIMED = 0.2  # part of a transcript's words that a model must time


def times_of_model(
    path: Path, lectures: Sequence[Lecture], config: AlignerConfig, device: torch.device
) -> tuple[Times, Regions]:
    """Times of words, and stretches of speech, of each lecture.

    Args:
      path: a CTC model's folder, or a .ctm or .jsonl file, or a folder of such files.
      lectures: to align.
      config: the costs of faults in the transcripts.
      device: where a model runs.
    Raises:
      DataError: path is neither; or a lecture has no speech, no transcript, or a transcript that does not fit.
    """
    if path.suffix.lower() in (".ctm", ".jsonl") or (path.is_dir() and not (path / "config.json").is_file()):
        return _times_of_words(path, lectures)
    times: Times = {}
    regions: Regions = {}
    units: dict[str, list[list[int]]] = {}
    acoustic = load_acoustic(path, device)
    for x in lectures:
        units[x.id] = acoustic.encode(x.words)
        times[x.id], regions[x.id] = _align(x, units[x.id], acoustic, config)
        timed = float(np.isfinite(times[x.id].start).mean())
        if timed < _MIN_TIMED:
            raise DataError(
                f"lecture {x.id}: {path} recognises only {timed:.1%} of its transcript, under {_MIN_TIMED:.0%}; "
                "is this the transcript of another recording, or the model of another language?"
            )
        logger.info("%s: aligned with %s", x.id, path)
    return finish_times(times, units, regions), regions


def _align(
    lecture: Lecture, units: Sequence[Sequence[int]], acoustic: Acoustic, config: AlignerConfig
) -> tuple[WordTimes, NDArray[np.int64]]:
    """Times of a lecture's words as the model emits them, and its stretches of speech. Its samples are then freed."""
    samples = lecture.samples()
    regions = speech_regions(samples, lecture.id)
    return align_words(acoustic.blocks(samples), units, lecture.id, acoustic.frame, config), regions


def _times_of_words(path: Path, lectures: Sequence[Lecture]) -> tuple[Times, Regions]:
    hypotheses = read_hypotheses(path)

    def no_words(missing: Sequence[str]) -> str:
        others = f" (nor are {', '.join(missing[1:6])})" if len(missing) > 1 else ""
        return f"lecture {missing[0]} is not in {path}, which has {', '.join(sorted(hypotheses)[:5])}{others}"

    times, regions = match_lectures(lectures, hypotheses, no_words)
    units: Mapping[str, list[list[int]]] = {name: [[0] * UNITS_PER_WORD] * len(t.start) for name, t in times.items()}
    return finish_times(times, units, regions), regions
