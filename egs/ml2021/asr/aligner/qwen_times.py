"""Stage 3 with Qwen's forced aligner, which takes windows of a few minutes whose words are known.

Synthetic speech and the sound of the units say which words are in a window. Windows end at
pauses, or between words where there are none for long.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.config import TIMES_VERSION
from lhotse_prep.alignment.corpus import TimedLecture
from lhotse_prep.alignment.first_times import group_regions, split_between_words
from lhotse_prep.alignment.lecture_times import LectureTimes, time_each
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.word_times import WordTimes, complete
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.executor import SerialExecutor
from ml2021.asr.aligner.machinery import Machinery
from ml2021.asr.aligner.refine import times_by_synthesis
from ml2021.asr.qwen.forced_aligner import QwenForcedAligner

logger = logging.getLogger(__name__)
_WINDOW = 60.0  # seconds; in short windows a wrong first time harms few words
_LEAST_SCORE = 0.02  # of a word: below it, the aligner does not know where the word is said
_UNITS_PER_WORD = 2  # assumed of each word, to time words between others


def time_with_qwen(model: str, lectures: Iterable[Lecture], machinery: Machinery) -> Iterator[TimedLecture]:
    """Times of words, and stretches of speech, of each lecture in order.

    Args:
      model: a folder, or a name on the hub.
      lectures: to align; one is in memory at a time, in this process.
      machinery: where the model runs, and where results are kept.
    Raises:
      DataError: there is no such model; a lecture has no speech or no transcript.
      ConfigError: transformers is too old.
    """
    aligner = QwenForcedAligner(model, machinery.device)

    def times(x: Lecture) -> LectureTimes:
        samples = x.samples()
        regions = speech_regions(samples, x.id)
        first = times_by_synthesis(x.id, x.words, fbank(samples), regions)
        placed = _times_in_windows(aligner, x.words, first, samples, regions)
        num_units = np.full(len(x.words), _UNITS_PER_WORD)
        return LectureTimes(complete(placed, num_units, regions / SAMPLE_RATE), regions, num_units)

    for x, timed in time_each(
        times, lectures, SerialExecutor(), machinery.results("aligned", [model, TIMES_VERSION]), "aligning"
    ):
        logger.info("%s: aligned with %s", x.id, aligner.name)
        yield x, timed.times, timed.regions


def _times_in_windows(
    aligner: QwenForcedAligner,
    words: Sequence[str],
    first: WordTimes,
    samples: NDArray[np.float32],
    regions: NDArray[np.int64],
) -> WordTimes:
    longest = int(min(_WINDOW, aligner.max_window) * SAMPLE_RATE)
    start, end = first.start * SAMPLE_RATE, first.end * SAMPLE_RATE
    spans = split_between_words(group_regions(regions, longest), start, end, longest).tolist()
    middles = np.nan_to_num((start + end) / 2, nan=-1.0)
    middles = np.maximum.accumulate(np.where(middles < 0, 0.0, middles))
    edges = np.array([(spans[i][1] + spans[i + 1][0]) / 2 for i in range(len(spans) - 1)])
    window = np.searchsorted(edges, middles)
    start, end, score = np.full(len(words), np.nan), np.full(len(words), np.nan), np.zeros(len(words))
    for index, (begin, stop) in enumerate(spans):
        inside = np.flatnonzero(window == index).tolist()
        if not inside:
            continue
        for w, time in zip(inside, aligner.times(samples[begin:stop], [words[w] for w in inside]), strict=True):
            if time is not None and time.score >= _LEAST_SCORE:
                start[w], end[w], score[w] = (
                    time.start + begin / SAMPLE_RATE,
                    time.end + begin / SAMPLE_RATE,
                    time.score,
                )
    return WordTimes(start, end, score)
