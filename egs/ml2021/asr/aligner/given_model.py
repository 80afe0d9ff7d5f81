"""Stage 3 with a given model: no training of a network, one lecture in memory at a time.

A model with CTC outputs aligns; any other recogniser's words are matched to the transcript, and their times are made
exact by the sound of the units (refine); Qwen's forced aligner gets windows that are cut by such times.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.alignment.corpus import Lecture, Regions, Times
from lhotse_prep.alignment.hypotheses import Hypothesis, read_hypotheses
from lhotse_prep.alignment.matching import UNITS_PER_WORD, match_lectures
from lhotse_prep.alignment.units_to_words import align_words, finish_times
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.acoustic import Acoustic, has_ctc_head, load_acoustic
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.qwen_times import times_of_qwen
from ml2021.asr.aligner.refine import refine_times
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.decode.ours import is_ours
from ml2021.asr.qwen.forced_aligner import is_qwen_aligner
from ml2021.asr.qwen.recogniser import is_qwen
from ml2021.asr.sherpa.folder import is_sherpa
from ml2021.asr.whisper.folder import is_whisper
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import TimedWord

logger = logging.getLogger(__name__)
_MIN_TIMED = 0.2  # part of a transcript's words that a model must time


def times_of_model(
    model: str | Path,
    lectures: Sequence[Lecture],
    config: AlignerConfig,
    device: torch.device,
    options: RecogniserOptions | None = None,
) -> tuple[Times, Regions]:
    """Times of words, and stretches of speech, of each lecture.

    Args:
      model: a .ctm or .jsonl file, or a folder of such files; a CTC model's folder; the folder or name of any
        recogniser, or of Qwen's forced aligner.
      lectures: to align.
      config: the costs of faults in the transcripts, and whether times of words are refined.
      device: where a model runs.
      options: of a recogniser.
    Raises:
      DataError: model is none of these; or a lecture has no speech, no transcript, or a transcript that does not fit.
      ConfigError: a package that the model needs is missing.
    """
    path = Path(model).expanduser()
    if is_words(path):
        return times_of_hypotheses(lectures, read_hypotheses(path), config, str(model))
    if is_qwen_aligner(path if path.exists() else str(model)):
        return times_of_qwen(str(model), lectures, device)
    if not aligns_by_itself(path):
        return _times_of_recogniser(str(model), lectures, config, options or RecogniserOptions(device=str(device)))
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


def is_words(path: Path) -> bool:
    """Whether it is a file of words with times, or a folder with such files."""
    suffixes = (".ctm", ".jsonl")
    if path.is_dir() and not (path / "config.json").is_file():
        return any(p.suffix.lower() in suffixes for p in path.iterdir())
    return path.suffix.lower() in suffixes and not path.is_dir()


def aligns_by_itself(path: Path) -> bool:
    """Whether it is, or should be, a CTC model that load_acoustic reads; no other recogniser."""
    folder = path.parent if path.is_file() else path
    if not (folder / "config.json").is_file():
        return False
    if is_ours(folder):
        return has_ctc_head(folder)
    return not (is_whisper(folder) or is_qwen(folder) or is_sherpa(folder))


def _align(
    lecture: Lecture, units: Sequence[Sequence[int]], acoustic: Acoustic, config: AlignerConfig
) -> tuple[WordTimes, NDArray[np.int64]]:
    """Times of a lecture's words as the model emits them, and its stretches of speech. Its samples are then freed."""
    samples = lecture.samples()
    regions = speech_regions(samples, lecture.id)
    return align_words(acoustic.blocks(samples), units, lecture.id, acoustic.frame, config), regions


def _times_of_recogniser(
    model: str, lectures: Sequence[Lecture], config: AlignerConfig, options: RecogniserOptions
) -> tuple[Times, Regions]:
    """Times from the words that a recogniser gives for the lectures."""
    recogniser = open_recogniser(model, options)
    hypotheses = {}
    for x in lectures:
        words = recogniser.recognise(x.audio)
        logger.info("%s: %d words by %s", x.id, len(words), recogniser.name)
        hypotheses[x.supervision.recording_id] = hypothesis_of(words)
    return times_of_hypotheses(lectures, hypotheses, config, recogniser.name)


def hypothesis_of(words: Sequence[TimedWord]) -> Hypothesis:
    """A recogniser's words, in order of time."""
    start = np.array([w.start for w in words], dtype=np.float64)
    return Hypothesis([w.text for w in words], np.maximum.accumulate(start), np.array([w.end for w in words]))


def times_of_hypotheses(
    lectures: Sequence[Lecture], hypotheses: Mapping[str, Hypothesis], config: AlignerConfig, source: str
) -> tuple[Times, Regions]:
    """Times from words that are matched to the transcripts, refined if config.refine.

    Args:
      lectures: to align.
      hypotheses: words with times by recording.
      config: see times_of_model.
      source: of the words, for messages.
    Raises:
      DataError: see match_lectures.
    """

    def no_words(missing: Sequence[str]) -> str:
        others = f" (nor are {', '.join(missing[1:6])})" if len(missing) > 1 else ""
        return f"lecture {missing[0]} is not in {source}, which has {', '.join(sorted(hypotheses)[:5])}{others}"

    times, regions = match_lectures(lectures, hypotheses, no_words)
    if config.refine:
        for x in lectures:
            times[x.id] = refine_times(x.id, x.words, times[x.id], fbank(x.samples()), regions[x.id])
    units: Mapping[str, list[list[int]]] = {name: [[0] * UNITS_PER_WORD] * len(t.start) for name, t in times.items()}
    return finish_times(times, units, regions), regions
