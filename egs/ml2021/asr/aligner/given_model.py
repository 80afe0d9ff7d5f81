"""Stage 3 with a model that is there already: no training, one lecture in memory at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.alignment.hypotheses import read_hypotheses
from lhotse_prep.alignment.matching import match_times
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.acoustic import load_acoustic
from ml2021.asr.aligner.config import AlignerConfig

logger = logging.getLogger(__name__)
Heard = tuple[str, Callable[[], NDArray[np.float32]], list[str]]  # a lecture's id, its samples, its words
_MIN_TIMED = 0.2  # part of a transcript's words that a model must find
_UNITS_PER_WORD = 2  # of a word that only a recogniser's words time


def times_of_model(
    path: Path, lectures: Sequence[Heard], config: AlignerConfig, device: torch.device
) -> tuple[dict[str, WordTimes], dict[str, NDArray[np.int64]]]:
    """Times of words, and stretches of speech (R, 2) in samples, of each lecture.

    Args:
      path: a CTC model's folder, or a .ctm or .jsonl file, or a folder of such files.
      lectures: to align.
      config: what faults of the transcripts cost.
      device: where a model runs.
    Raises:
      DataError: path is neither; a lecture has no speech or no transcript, or the two do not fit.
    """
    times: dict[str, WordTimes] = {}
    units: dict[str, list[list[int]]] = {}
    regions: dict[str, NDArray[np.int64]] = {}
    if path.suffix in (".ctm", ".jsonl") or (path.is_dir() and not (path / "config.json").is_file()):
        hypotheses = read_hypotheses(path)
        for name, read, words in lectures:
            if name not in hypotheses:
                raise DataError(f"lecture {name} is not in {path}, which has {', '.join(sorted(hypotheses)[:5])}")
            regions[name] = speech_regions(read(), name)
            times[name] = match_times(_checked(words, name), hypotheses[name], name)
            units[name] = [[0] * _UNITS_PER_WORD] * len(words)
    else:
        acoustic = load_acoustic(path, device)
        for name, read, words in lectures:
            samples = read()
            regions[name] = speech_regions(samples, name)
            units[name] = acoustic.encode(_checked(words, name))
            times[name] = align_words(acoustic.blocks(samples), units[name], name, acoustic.frame, config)
            timed = float(np.isfinite(times[name].start).mean())
            if timed < _MIN_TIMED:
                raise DataError(
                    f"lecture {name}: {path} hears only {timed:.1%} of its transcript, under {_MIN_TIMED:.0%}; "
                    "is this the transcript of another recording, or the model of another language?"
                )
            logger.info("%s: aligned with %s", name, path)
    return finish_times(times, units, regions), regions


def _checked(words: list[str], lecture: str) -> list[str]:
    if not words:
        raise DataError(f"lecture {lecture}: its transcript is empty, there is nothing to align")
    return words
