"""Times of a lecture's words from a model's log-probs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.config import FaultConfig
from lhotse_prep.alignment.search.align import align
from lhotse_prep.alignment.search.best_path import Alignment
from lhotse_prep.alignment.search.passages import wrong_passages
from lhotse_prep.alignment.search.strays import drop_strays
from lhotse_prep.alignment.word_times import RECOGNISED, WordTimes, are_characters, complete, first_lags, is_spread
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)

_ENOUGH_LAGS = 8
_LONGEST_GAP = 0.3  # seconds between units of one word
_NEAR_WORDS = 8
_MIN_KNOWN = 0.5  # part of a transcript's words that a model's vocabulary must be able to write


def align_words(
    log_probs: NDArray[np.float32] | Iterable[NDArray[np.float32]],
    word_units: Sequence[Sequence[int]],
    lecture_id: str,
    frame: int,
    faults: FaultConfig | None,
) -> WordTimes:
    """Times of words as the model emits them, and which of them are in wrong passages or probably not said.

    Args:
      log_probs: (T, V) or blocks of it.
      word_units: ids of each word's units; words without units are not timed.
      lecture_id: named in errors.
      frame: samples per frame.
      faults: the costs of speech without text, text without speech and wrong text; None: the transcript is exact.
    Raises:
      DataError: see `align`; or the vocabulary cannot write most words.
    """
    known = sum(1 for units in word_units if units)
    if word_units and known < _MIN_KNOWN * len(word_units):
        raise DataError(
            f"lecture {lecture_id}: the model's vocabulary can write {known} of its {len(word_units)} words; "
            "is the model of another language or script?"
        )
    flat = np.array([u for units in word_units for u in units], dtype=np.int64)
    if faults is None:
        path = align(log_probs, flat, lecture_id)
    else:
        path = align(log_probs, flat, lecture_id, **faults.costs, distance=SAMPLE_RATE // frame)
        path = drop_strays(path, faults.min_island, isolation=5 * SAMPLE_RATE // frame)
    sizes = [len(units) for units in word_units]
    times = words_of_units(path, sizes, frame)
    if faults is None:
        return times
    is_known = np.array(sizes) > 0
    wrong = wrong_passages(times.score >= RECOGNISED, is_known)
    return replace(times, wrong=wrong | unsaid_words(path, word_units))


def unsaid_words(path: Alignment, word_units: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
    """(W,) words more than half of whose units are probably not spoken.

    Where a word is written twice and said once, the two searches may time different ones. So a word with a time keeps
    it if its like, at most _NEAR_WORDS away, has none and is not unsaid.
    """
    sizes = np.array([len(units) for units in word_units])
    ends = np.cumsum(sizes)

    def parts(units: NDArray[np.bool_]) -> NDArray[np.bool_]:
        count = np.append(0, np.cumsum(units))
        most: NDArray[np.bool_] = 2 * (count[ends] - count[ends - sizes]) > sizes
        return most

    unsaid, untimed = parts(path.unsaid), parts(path.start < 0)
    may_be_said = untimed & ~unsaid
    for w in np.flatnonzero(unsaid & ~untimed).tolist():
        first = max(0, w - _NEAR_WORDS)
        others = first + np.flatnonzero(may_be_said[first : w + _NEAR_WORDS + 1])
        unsaid[w] = all(word_units[v] != word_units[w] for v in others.tolist())
    return unsaid


def words_of_units(path: Alignment, sizes: Sequence[int], frame: int) -> WordTimes:
    """A word lasts from its first spoken unit to its last; if fewer than half are spoken, the word is not spoken.

    Units that are _LONGEST_GAP away from half of their word or more were heard in something else, such as another voice
    in the pause before it. (Of two halves, the one counts that the model recognises better.)
    """
    start, end = (np.full(len(sizes), np.nan) for _ in range(2))
    score = np.zeros(len(sizes))
    begin, longest = 0, int(_LONGEST_GAP * SAMPLE_RATE / frame)
    for w, size in enumerate(sizes):
        unit = np.arange(begin, begin + size)
        spoken = unit[path.start[unit] >= 0]
        begin += size
        if len(spoken) and 2 * len(spoken) >= size:
            spoken = _together(path, spoken, longest, size)
            start[w], end[w] = path.start[spoken[0]] * frame / SAMPLE_RATE, path.end[spoken[-1]] * frame / SAMPLE_RATE
        score[w] = float(np.exp(path.score[spoken]).sum() / max(1, size))
    return WordTimes(start, end, score)


def _together(path: Alignment, units: NDArray[np.int64], longest: int, size: int) -> NDArray[np.int64]:
    """Those of a word's spoken units that are at most `longest` frames apart, if they are half of its `size` units."""
    gaps = path.start[units[1:]] - path.end[units[:-1]]
    if not (gaps > longest).any():
        return units
    parts = np.split(units, np.flatnonzero(gaps > longest) + 1)
    most = max(parts, key=lambda part: (len(part), float(path.score[part].mean())))
    return most if 2 * len(most) >= size else units


def finish_times(
    times: Mapping[str, WordTimes],
    words: Mapping[str, Sequence[str]],
    word_units: Mapping[str, Sequence[Sequence[int]]],
    regions: Mapping[str, NDArray[np.int64]],
) -> dict[str, WordTimes]:
    """Subtract the lag with which words are emitted, and time missed words with the help of voice activity.

    Args:
      times: of each lecture's words, as the model emits them.
      words: of each lecture.
      word_units: of each lecture; their number is a measure of a word's length.
      regions: of each lecture, (R, 2) stretches of speech in samples.
    """
    lag = median_lag(
        [x for name, stretches in regions.items() for x in onset_lags(times[name].without_wrong(), stretches)]
    )
    return {
        name: finished(t, words[name], np.array([max(1, len(u)) for u in word_units[name]]), regions[name], lag)
        for name, t in times.items()
    }


def finished(
    times: WordTimes, words: Sequence[str], num_units: NDArray[np.int64], regions: NDArray[np.int64], lag: float
) -> WordTimes:
    """The times of one lecture as finish_times gives them; words that are not said here have none.

    Args:
      times: as the model emits them.
      words: the transcript's units.
      num_units: (W,) of each word, at least 1.
      regions: (R, 2) stretches of speech in samples.
      lag: of all lectures, see median_lag.
    """
    early = replace(times, start=np.maximum(times.start - lag, 0), end=times.end - lag)
    if early.wrong is None:
        return complete(early, num_units, regions / SAMPLE_RATE, are_characters(words))
    said = ~early.wrong  # the others are no neighbours of what is left to be timed
    text = WordTimes(early.start[said], early.end[said], early.score[said], early.agreement)
    text = complete(text, num_units[said], regions / SAMPLE_RATE, are_characters(words)[said])
    start, end = (np.full(len(said), np.nan) for _ in range(2))
    score = np.zeros(len(said))
    start[said], end[said], score[said] = text.start, text.end, text.score
    return WordTimes(start, end, score, early.agreement)


def median_lag(lags: Sequence[float]) -> float:
    """The lag of a model, from the onset_lags of all lectures; 0 if there are too few to tell."""
    if len(lags) < _ENOUGH_LAGS:
        logger.info("lag of the model unknown: %d stretches begin with a word, %d are needed", len(lags), _ENOUGH_LAGS)
        return 0.0
    lag = float(np.median(lags))
    order = "before" if lag < 0 else "after"
    logger.info("first words of stretches are emitted %.0f ms %s speech begins; taken away", 1000 * abs(lag), order)
    return lag


def onset_lags(times: WordTimes, regions: NDArray[np.int64]) -> list[float]:
    """Seconds from the beginning of stretches of speech to the first words that are emitted in them.

    There are none where they differ much: then stretches begin with noise or with other voices.

    Args:
      times: of the words of one lecture.
      regions: (R, 2) its stretches of speech in samples.
    """
    lags = first_lags(times.start, regions / SAMPLE_RATE)
    return [] if is_spread(lags) else lags
