"""When the words of a known text are said: by a given model, the text's own coarse times, or a trained aligner."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from lhotse import SupervisionSegment
from numpy.typing import NDArray

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.stretches import make_stretches
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.manifests.exact_times import first_token
from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.given_model import times_of_hypotheses, times_of_model
from ml2021.asr.aligner.prepared import read_lecture
from ml2021.asr.aligner.rounds import align_lectures
from ml2021.asr.aligner.trained_times import times_of_trained_model
from ml2021.asr.words.options import RecogniserOptions
from ml2021.st.known_text.hints import moved_to_speech
from ml2021.st.known_text.read import TextLine

logger = logging.getLogger(__name__)
_LEAST_TIMED = 0.25  # part of the words that must be in the recording
# median of a word's, by an aligner that was trained on the lecture; it is above 0.8 if all is well
_LEAST_CONFIDENCE = 0.3
_LONGEST_GAP = 5  # words without a time that are shown between two words that have one
_LONGEST_PAUSE = 3.0  # seconds between these two


@dataclass(frozen=True)
class AlignerChoice:
    """How words are timed."""

    model: str = ""  # folder, name or file of stage 3's --aligner-model; empty: hints, or an aligner that is trained
    config: AlignerConfig = field(default_factory=AlignerConfig)
    options: RecogniserOptions = field(default_factory=RecogniserOptions)
    train: bool = False  # whether stage 3's aligner trains on the lecture, from the times that model or hints give


@dataclass(frozen=True)
class TimedText:
    """The words of a text in a recording."""

    start: NDArray[np.float64]  # (W,) seconds, ascending; NaN for a word that is not said
    end: NDArray[np.float64]  # (W,)
    score: NDArray[np.float64]  # (W,) 0..1
    times: WordTimes  # as the aligner gave them, for reports
    regions: NDArray[np.float64]  # (R, 2) stretches of speech in seconds


def time_text(
    lecture: str,
    audio: Path,
    duration: float,
    words: Sequence[str],
    lines: Sequence[TextLine],
    choice: AlignerChoice,
    work_dir: Path,
) -> TimedText:
    """
    Args:
      lecture: its name.
      audio: the recording, 16 kHz, mono.
      duration: of the recording in seconds.
      words: of the text, normalised; not empty.
      lines: of the text, whose times are hints if there are any.
      choice: of an aligner.
      work_dir: where the training of an aligner is kept, in case it is cut short.
    Raises:
      DataError: the text is of another recording; or see times_of_model.
    """
    supervision = SupervisionSegment(lecture, lecture, 0.0, duration, text=" ".join(words))
    recording = Lecture(supervision, audio, choice.config.train_parts[0])
    times, regions, is_trained = _times(recording, lines, choice, work_dir)
    if choice.train and not is_trained:
        logger.info("%s: training an aligner on this lecture, from these times; this takes minutes", lecture)
        device = torch.device(choice.options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        first = read_lecture(lecture, recording.samples(), recording.words, times)
        times = align_lectures([first], {lecture}, choice.config, work_dir, device)[lecture]
    timed = np.isfinite(times.start)
    if timed.mean() < _LEAST_TIMED:
        raise DataError(
            f"lecture {lecture}: {timed.mean():.1%} of the {len(words)} words of its text fit the recording, under "
            f"{_LEAST_TIMED:.0%}; is it the text of another lecture, or in another language?"
        )
    confidence = float(np.median(times.score))
    if is_trained and confidence < _LEAST_CONFIDENCE:
        raise DataError(
            f"lecture {lecture}: an aligner that learned on its text alone recognises {confidence:.1%} of a word "
            f"(median), under {_LEAST_CONFIDENCE:.0%}; is it the text of another lecture? If not, the recording is too "
            "short or too noisy to learn from: name a model with --aligner"
        )
    seconds = regions / SAMPLE_RATE
    return _tidied(supervision, times, seconds)


def _times(
    recording: Lecture, lines: Sequence[TextLine], choice: AlignerChoice, work_dir: Path
) -> tuple[WordTimes, NDArray[np.int64], bool]:
    """Times of words, stretches of speech, and whether an aligner was trained for it."""
    device = torch.device(choice.options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    name = recording.id
    if choice.model:
        times, regions = times_of_model(choice.model, [recording], choice.config, device, choice.options)
        return times[name], regions[name], False
    hints = hypothesis_of_lines(lines)
    if hints.words:
        try:
            samples = recording.samples()
            hints = moved_to_speech(
                name, hints, speech_regions(samples, name) / SAMPLE_RATE, len(samples) / SAMPLE_RATE
            )
            del samples
            times, regions = times_of_hypotheses([recording], {name: hints}, choice.config, "the text")
            return times[name], regions[name], False
        except DataError as e:
            logger.warning("the times of the text are not used: %s", e)
    logger.info("%s: training an aligner on this lecture; this takes minutes, --aligner MODEL does not", name)
    times, regions = times_of_trained_model([recording], work_dir, choice.config, device)
    return times[name], regions[name], True


def hypothesis_of_lines(lines: Sequence[TextLine]) -> Hypothesis:
    """The words of lines with times, each line's evenly over its time."""
    words: list[str] = []
    edges: list[tuple[float, float]] = []
    for line in lines:
        if line.start is None or line.end is None:
            continue
        spoken = normalize_transcript(line.text).split()
        steps = np.linspace(line.start, max(line.end, line.start), len(spoken) + 1).tolist()
        words += spoken
        edges += zip(steps[:-1], steps[1:])
    times = np.array(edges, dtype=np.float64).reshape(-1, 2)
    return Hypothesis(words, np.maximum.accumulate(times[:, 0]) if len(times) else times[:, 0], times[:, 1])


def _tidied(supervision: SupervisionSegment, times: WordTimes, regions: NDArray[np.float64]) -> TimedText:
    """Words in order and drawn out as in stage 3; short gaps of untimed words share the time that is left there."""
    num_words = len(times.start)
    start, end = np.full(num_words, np.nan), np.full(num_words, np.nan)
    for stretch in make_stretches(supervision, times, regions, StretchConfig()):
        first = first_token(stretch)
        for i, item in enumerate((stretch.alignment or {}).get("word", [])):
            start[first + i], end[first + i] = item.start, item.end
    untimed = np.flatnonzero(np.isnan(start))
    for run in np.split(untimed, np.flatnonzero(np.diff(untimed) > 1) + 1) if len(untimed) else []:
        before, after = run[0] - 1, run[-1] + 1
        if len(run) > _LONGEST_GAP or before < 0 or after == num_words or start[after] - end[before] > _LONGEST_PAUSE:
            continue
        if start[after] - end[before] < 0.05 * len(run):  # no room: the word before gives some of its time
            end[before] = (start[before] + end[before]) / 2
        edges = np.linspace(end[before], start[after], len(run) + 1)
        start[run], end[run] = edges[:-1], edges[1:]
    return TimedText(start, end, times.score, replace(times), regions)
