"""Times for a transcript from the words of any recogniser; no log-probs are needed.

Both are written as syllables without tone, so that a homophone or a Simplified character counts as a match; hyphenated
words are split. Then they are matched by edit distance, and each match takes the recogniser's time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from lhotse_prep.alignment.corpus import Regions, TimedLecture, Times, TimeWords
from lhotse_prep.alignment.hypotheses import Hypothesis, names_of_recordings, read_hypotheses
from lhotse_prep.alignment.lecture_times import LectureTimes, time_each
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.outside_times import NEAR_SPEECH, Recording, check_times, misplaced, share_in_speech
from lhotse_prep.alignment.speech_fit import SpeechFit
from lhotse_prep.alignment.word_times import WordTimes, complete
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.text.characters import is_han
from lhotse_prep.text.syllables import syllable
from lhotse_prep.workflow.digests import digest_json
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import Executor, SerialExecutor

logger = logging.getLogger(__name__)
UNITS_PER_WORD = 2  # assumed of each word, to time words between matched ones
_MIN_MATCHED = 0.2  # part of the transcript that must match
_MIN_IN_RUNS = 0.05  # part of it that must match in runs, and not by chance
_GAP = 3  # unmatched parts, in text or speech, that separate two runs of matches
_MIN_RUN = 6  # matches of a run that is trusted wherever it is
_LONG_PAUSE = 0.7  # seconds; a replaced word beside such a pause could be on either side of it
_EDGE = 0.1  # seconds by which a word may stick out of its speech at full score
_LONGEST_REPLACED = 20  # parts in a row that the recogniser replaced


def times_of_words(words: Path | None, executor: Executor | None = None) -> TimeWords:
    """The function that times lectures by a recogniser's words, for align_corpus.

    Args:
      words: a .ctm or .jsonl file, or a folder of them; None if all lectures have exact times.
      executor: runs the work on each lecture; None: this process.
    Raises:
      DataError: see read_hypotheses. The function raises it for a lecture without words with times, or if hardly any
        match.
    """
    hypotheses = read_hypotheses(words) if words is not None else {}

    def time_words(lectures: Iterable[Lecture]) -> Iterator[TimedLecture]:
        with_words = LecturesWithWords(lectures, hypotheses, _no_words)
        for x, timed in time_each(match_lecture, with_words, executor or SerialExecutor(), None, "matching"):
            yield x.lecture, complete(timed.times, timed.num_units, timed.regions / SAMPLE_RATE), timed.regions

    return time_words


@dataclass(frozen=True)
class LectureWithWords:
    """A lecture and the words with times that something else gives for it."""

    lecture: Lecture
    hypothesis: Hypothesis

    @property
    def id(self) -> str:
        """The lecture's id."""
        return self.lecture.id

    def content(self) -> str:
        """See lecture_times.Item."""
        h = self.hypothesis
        return digest_json([self.lecture.content(), h.words, h.start.tolist(), h.end.tolist()])


class LecturesWithWords:
    """Lectures with the words of a file, one after the other."""

    def __init__(
        self,
        lectures: Iterable[Lecture],
        hypotheses: Mapping[str, Hypothesis],
        no_words: Callable[[Sequence[str]], str],
    ) -> None:
        """
        Args:
          lectures: to match.
          hypotheses: by recording; those of other recordings are named in the log.
          no_words: the message of the error about lectures that have no hypothesis.
        Raises:
          DataError: a lecture has no hypothesis.
        """
        self._lectures, self._hypotheses = lectures, hypotheses
        self._names = names_of_recordings(hypotheses, [x.supervision.recording_id for x in lectures], no_words)

    def __iter__(self) -> Iterator[LectureWithWords]:
        for x in self._lectures:
            yield LectureWithWords(x, self._hypotheses[self._names[x.supervision.recording_id]])


def match_lectures(
    lectures: Sequence[Lecture], hypotheses: Mapping[str, Hypothesis], no_words: Callable[[Sequence[str]], str]
) -> tuple[Times, Regions]:
    """Times of matched words, and stretches of speech, of each lecture; one recording is in memory at a time.

    Args: see LecturesWithWords.
    Raises:
      DataError: also as match_lecture.
    """
    matched = {x.id: match_lecture(x) for x in LecturesWithWords(lectures, hypotheses, no_words)}
    return {name: m.times for name, m in matched.items()}, {name: m.regions for name, m in matched.items()}


def match_lecture(item: LectureWithWords) -> LectureTimes:
    """Times of a lecture's matched words.

    Raises:
      DataError: hardly any words match, or it has no transcript, or no speech; or see check_times.
    """
    return match_samples(item, item.lecture.samples())


def match_samples(item: LectureWithWords, samples: NDArray[np.float32]) -> LectureTimes:
    """As match_lecture, with the samples of the recording."""
    x = item.lecture
    words = x.words
    regions = speech_regions(samples, x.id)
    recording = Recording(x.id, len(samples) / SAMPLE_RATE, regions / SAMPLE_RATE)
    hypothesis, fit = check_times(item.hypothesis, recording)
    times = _without_silence(match_times(words, hypothesis, x.id), fit, recording)
    return LectureTimes(times, regions, np.full(len(words), UNITS_PER_WORD))


def _without_silence(times: WordTimes, fit: SpeechFit, recording: Recording) -> WordTimes:
    """Times without those of words where nobody speaks, or that fit the speech elsewhere; scores by speech."""
    silent = share_in_speech(times.start, times.end, recording.regions, NEAR_SPEECH) == 0
    for m in misplaced(fit):
        silent |= (times.start >= m.begin) & (times.start <= m.end)
    num_silent = int((silent & np.isfinite(times.start)).sum())
    if num_silent:
        logger.info("%s: %d words are where nobody speaks, and lose their times", recording.id, num_silent)
    start, end = (np.where(silent, np.nan, x) for x in (times.start, times.end))
    score = times.score * share_in_speech(start, end, recording.regions, _EDGE)
    return WordTimes(start, end, score, round(max(fit.agreement, 0.0), 4))


def _no_words(lectures: Sequence[str]) -> str:
    others = f" (nor have {', '.join(lectures[1:6])})" if len(lectures) > 1 else ""
    return (
        f"lecture {lectures[0]} has no words with times{others}; give them with --words, or align it with a model: "
        "./run.sh --stage 3 --stop-stage 3 (this package has no models)"
    )


def match_times(words: Sequence[str], hypothesis: Hypothesis, lecture: str) -> WordTimes:
    """When each word is spoken; NaN for a word without a match.

    Args:
      words: the transcript's units.
      hypothesis: of the whole recording.
      lecture: named in errors.
    Raises:
      DataError: hardly anything matches.
    """
    parts, owner = _parts(words)
    recognised, source = _parts(hypothesis.words)
    pairs = np.array(
        [
            (op.src_start + k, op.dest_start + k)
            for op in Levenshtein.opcodes(parts, recognised)
            if op.tag == "equal"
            for k in range(op.src_end - op.src_start)
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    if len(pairs) < _MIN_MATCHED * len(parts):
        raise DataError(
            f"lecture {lecture}: its recogniser's words match {len(pairs)} of {len(parts)} in the transcript, under "
            f"{_MIN_MATCHED:.0%}; are they of another recording, or another language?"
        )
    pairs = _without_strays(pairs, len(parts), len(recognised))
    if len(pairs) < _MIN_IN_RUNS * len(parts):
        raise DataError(
            f"lecture {lecture}: {len(pairs)} of {len(parts)} in the transcript match its recogniser's words in runs "
            f"of {_MIN_RUN} or more, under {_MIN_IN_RUNS:.0%}; does the file hold all words of this recording?"
        )
    start, end = (np.full(len(parts), np.nan) for _ in range(2))
    start[pairs[:, 0]], end[pairs[:, 0]] = hypothesis.start[source[pairs[:, 1]]], hypothesis.end[source[pairs[:, 1]]]
    matched = np.isfinite(start)
    for (i, j), (next_i, next_j) in zip(pairs, pairs[1:]):
        ours, theirs = next_i - i - 1, next_j - j - 1  # nearly one for one, and without a pause: replaced
        pauses = hypothesis.start[source[j + 1 : next_j + 1]] - hypothesis.end[source[j:next_j]]
        if 0 < max(ours, theirs) <= min(2 * min(ours, theirs), _LONGEST_REPLACED) and pauses.max() < _LONG_PAUSE:
            edges = np.linspace(hypothesis.start[source[j + 1]], hypothesis.end[source[next_j - 1]], ours + 1)
            start[i + 1 : next_i], end[i + 1 : next_i] = edges[:-1], edges[1:]
    return _whole_words(len(words), owner, start, end, matched)


def _without_strays(pairs: NDArray[np.int64], num_parts: int, num_recognised: int) -> NDArray[np.int64]:
    """Drop short runs of matches between longer unmatched runs: chance, or edges that could be anywhere.

    Args:
      pairs: (M, 2) places in the transcript and in the hypothesis, ascending.
      num_parts, num_recognised: parts of the transcript and of the hypothesis.
    """
    while len(pairs):
        bounds = np.concatenate([[[-1, -1]], pairs, [[num_parts, num_recognised]]])
        gaps = (np.diff(bounds, axis=0) - 1).max(axis=1)  # (M + 1,) before each match and after the last
        first = np.concatenate([[0], np.flatnonzero(gaps[1:-1] >= _GAP) + 1])
        sizes = np.diff(np.append(first, len(pairs)))
        around = np.minimum(gaps[first], gaps[first + sizes])
        stray = (sizes < _MIN_RUN) & (around >= np.maximum(_GAP, sizes + 1))
        if not stray.any():
            break
        pairs = pairs[~np.repeat(stray, sizes)]
    return pairs


def _parts(words: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """The parts that are compared, and the index of each part's word."""
    pairs = [
        (syllable(part) if is_han(part) else part, w)
        for w, word in enumerate(words)
        for part in ([p for p in word.split("-") if p] or [word])
    ]
    return [part for part, _ in pairs], np.array([w for _, w in pairs], dtype=np.int64)


def _whole_words(
    num_words: int,
    owner: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    matched: NDArray[np.bool_],
) -> WordTimes:
    """A word lasts from its first timed part to its last; its score is the fraction of its parts that matched."""
    first, last, score = np.full(num_words, np.nan), np.full(num_words, np.nan), np.zeros(num_words)
    timed = np.flatnonzero(np.isfinite(start))
    np.fmin.at(first, owner[timed], start[timed])
    np.fmax.at(last, owner[timed], end[timed])
    sizes = np.bincount(owner, minlength=num_words)
    np.add.at(score, owner[timed], matched[timed])
    return WordTimes(first, last, score / np.maximum(sizes, 1))
