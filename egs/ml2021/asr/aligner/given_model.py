"""Stage 3 with a given model: no training of a network, one lecture in memory at a time in each process.

A model with CTC outputs aligns; any other recogniser's words are matched to the transcript, and their times are made
exact by the sound of the units (refine); Qwen's forced aligner gets windows that are cut by such times.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lhotse_prep.alignment.corpus import Regions, TimedLecture, Times
from lhotse_prep.alignment.hypotheses import Hypothesis, read_hypotheses
from lhotse_prep.alignment.lecture_times import LectureTimes, file_name, finish_each, time_each
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.matching import LecturesWithWords, LectureWithWords, match_samples
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.workflow.digests import digest_json
from lhotse_prep.workflow.files import iterate_jsonl, write_jsonl
from lhotse_prep.workflow.resumable import ResultFolder
from ml2021.asr.aligner.acoustic import has_ctc_head
from ml2021.asr.aligner.config import AlignerConfig
from ml2021.asr.aligner.ctc_times import MIN_CONTRAST, CtcTimes
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.qwen_times import time_with_qwen
from ml2021.asr.aligner.refine import refine_times
from ml2021.asr.decode.open_recogniser import open_recogniser
from ml2021.asr.decode.ours import is_ours
from ml2021.asr.qwen.forced_aligner import is_qwen_aligner
from ml2021.asr.qwen.recogniser import is_qwen
from ml2021.asr.sherpa.folder import is_sherpa
from ml2021.asr.whisper.folder import is_whisper
from ml2021.asr.words.interfaces import Recogniser
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
    """All that time_with_model yields, by lecture."""
    return _by_lecture(time_with_model(model, lectures, config, Machinery(device), options))


def time_with_model(
    model: str | Path,
    lectures: Iterable[Lecture],
    config: AlignerConfig,
    machinery: Machinery,
    options: RecogniserOptions | None = None,
) -> Iterator[TimedLecture]:
    """Times of words, and stretches of speech, of each lecture in order.

    Args:
      model: a .ctm or .jsonl file, or a folder of such files; a CTC model's folder; the folder or name of any
        recogniser, or of Qwen's forced aligner.
      lectures: to align; gone through several times.
      config: the costs of faults in the transcripts, and whether times of words are refined.
      machinery: where it runs. Recognisers run in this process, one lecture after the other.
      options: of a recogniser.
    Raises:
      DataError: model is none of these; or a lecture has no speech, no transcript, or a transcript that does not fit.
      ConfigError: a package that the model needs is missing.
    """
    path = Path(model).expanduser()
    if is_words(path):
        return _time_with_words(lectures, read_hypotheses(path), config, str(model), machinery)
    if is_qwen_aligner(path if path.exists() else str(model)):
        return time_with_qwen(str(model), lectures, machinery)
    if not aligns_by_itself(path):
        recogniser_options = options or RecogniserOptions(device=str(machinery.device))
        return _time_with_recogniser(str(model), lectures, config, recogniser_options, machinery)
    return _time_with_ctc(path, lectures, config, machinery)


def _time_with_ctc(
    path: Path, lectures: Iterable[Lecture], config: AlignerConfig, machinery: Machinery
) -> Iterator[TimedLecture]:
    work = CtcTimes(path, str(machinery.device), config, least_timed=_MIN_TIMED, least_contrast=MIN_CONTRAST)
    results = machinery.results("aligned", [str(path), config.costs, config.min_island])

    def logged() -> Iterator[tuple[Lecture, LectureTimes]]:
        for x, timed in time_each(work, lectures, machinery.executor, results, "aligning", machinery.batched(work)):
            logger.info("%s: aligned with %s", x.id, path)
            yield x, timed

    return finish_each(lectures, logged(), results)


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


def _time_with_recogniser(
    model: str, lectures: Iterable[Lecture], config: AlignerConfig, options: RecogniserOptions, machinery: Machinery
) -> Iterator[TimedLecture]:
    """Times from the words that a recogniser gives for the lectures."""
    recogniser = open_recogniser(model, options)
    kept = None
    if machinery.work_dir is not None:
        digest = digest_json(dict(recogniser.digests()))
        kept = ResultFolder(machinery.work_dir / "words", ".done", (".jsonl",), digest, may_be_edited=False)
        kept.state_dir.mkdir(parents=True, exist_ok=True)

    def recognised() -> Iterator[LectureWithWords]:
        for x in lectures:
            yield LectureWithWords(x, hypothesis_of(_words(x, recogniser, kept)))

    return _matched(lectures, recognised(), config, machinery)


def _words(x: Lecture, recogniser: Recogniser, kept: ResultFolder | None) -> list[TimedWord]:
    """The words that a recogniser gives for a lecture, or gave in an earlier run."""
    if kept is None:
        return _recognised(x, recogniser)
    name = file_name(x.id)
    if not kept.is_done(name, x.content()):
        with kept.work(name, x.content()) as folder:
            rows = ({"word": [w.text, w.start, w.end, w.score]} for w in _recognised(x, recogniser))
            write_jsonl(folder / f"{name}.jsonl", rows)
    return [TimedWord(*row["word"]) for row in iterate_jsonl(kept.folder / f"{name}.jsonl")]


def _recognised(x: Lecture, recogniser: Recogniser) -> list[TimedWord]:
    words = recogniser.recognise(x.audio)
    logger.info("%s: %d words by %s", x.id, len(words), recogniser.name)
    return words


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
    return _by_lecture(_time_with_words(lectures, hypotheses, config, source, Machinery(torch.device("cpu"))))


def _time_with_words(
    lectures: Iterable[Lecture],
    hypotheses: Mapping[str, Hypothesis],
    config: AlignerConfig,
    source: str,
    machinery: Machinery,
) -> Iterator[TimedLecture]:
    def no_words(missing: Sequence[str]) -> str:
        others = f" (nor are {', '.join(missing[1:6])})" if len(missing) > 1 else ""
        return f"lecture {missing[0]} is not in {source}, which has {', '.join(sorted(hypotheses)[:5])}{others}"

    return _matched(lectures, LecturesWithWords(lectures, hypotheses, no_words), config, machinery)


def _matched(
    lectures: Iterable[Lecture], with_words: Iterable[LectureWithWords], config: AlignerConfig, machinery: Machinery
) -> Iterator[TimedLecture]:
    results = machinery.results("matched", [config.refine])
    timed = time_each(MatchedTimes(config.refine), with_words, machinery.executor, results, "matching")
    return finish_each(lectures, ((x.lecture, t) for x, t in timed), results)


@dataclass(frozen=True)
class MatchedTimes:
    """Times of a lecture's words that match others, made exact by their sound; for time_each, in any process."""

    refine: bool

    def __call__(self, item: LectureWithWords) -> LectureTimes:
        """Raises DataError as match_samples."""
        samples = item.lecture.samples()
        matched = match_samples(item, samples)
        if not self.refine:
            return matched
        times = refine_times(item.id, item.lecture.words, matched.times, fbank(samples), matched.regions)
        return replace(matched, times=times)


def _by_lecture(timed: Iterable[TimedLecture]) -> tuple[Times, Regions]:
    all_timed = list(timed)
    return {x.id: times for x, times, _ in all_timed}, {x.id: regions for x, _, regions in all_timed}
