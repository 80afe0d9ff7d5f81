"""Make coarse times of words exact: fit the sounds of units to the times, align again by them, and repeat.

Whisper's words, or the cues of a subtitle file, are off by up to a second. A model of each unit's sound (unit_sounds)
that is fitted to them is still mostly right, and the exact search places every word by it: Viterbi training, as of
Kaldi's monophones. It takes seconds for an hour and no other data than the recording.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.first_times import after_pauses, synthetic_times
from lhotse_prep.alignment.search.align import align
from lhotse_prep.alignment.speech_fit import agreement
from lhotse_prep.alignment.units_to_words import words_of_units
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import HANGOVER
from lhotse_prep.tokens.pronunciation_units import PronunciationUnits
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.unit_sounds import FRAME, UnitSounds, cepstra, num_frames

logger = logging.getLogger(__name__)
_MAX_ROUNDS = 6
_SETTLED = 0.02  # seconds that nearly all words move at most in the last round
_PIECE, _MARGIN = 240.0, 10.0  # seconds that are searched at a time, and on both sides of them
_FEWEST_WORDS = 30  # with a time; from fewer nothing can be learned
_LONGEST_GAP = 6  # untimed words in a row that are placed with the others; more have perhaps not been said
_REACH = 2.0  # seconds around a word's time within which it may be spoken
_FARTHEST = 3.0  # seconds; a word that moves farther loses its time
_MOST_FAR = 0.2  # of the words, above which the given times are kept
_UNIT = 0.3  # seconds that a unit lasts at most in the labels
_NUM_ENGLISH_PIECES = 150


def refine_times(
    lecture: str, words: Sequence[str], times: WordTimes, features: NDArray[np.float32], regions: NDArray[np.int64]
) -> WordTimes:
    """Times of the same words by their sound, if these fit the speech better; else `times`, which are exact already.

    See placed_by_sound.
    """
    refined = placed_by_sound(lecture, words, times, features, regions)
    if refined is times:
        return times
    seconds = len(features) * FRAME_SHIFT / SAMPLE_RATE
    given_fit, refined_fit = (_fit(x, regions, seconds) for x in (times, refined))
    if refined_fit > given_fit:
        return refined
    logger.info(
        "lecture %s: the words keep the times that they had, which fit the speech as well as refined ones (%.2f, %.2f)",
        lecture,
        given_fit,
        refined_fit,
    )
    return times


def times_by_synthesis(
    lecture: str, words: Sequence[str], features: NDArray[np.float32], regions: NDArray[np.int64]
) -> WordTimes:
    """Times without any model: by synthetic speech, then by the sound of the units; see placed_by_sound."""
    start = synthetic_times(words, features, regions) / SAMPLE_RATE
    end = np.append(start[1:], len(features) * FRAME_SHIFT / SAMPLE_RATE)
    coarse = WordTimes(start, np.minimum(end, start + 0.5), np.zeros(len(words)))
    return placed_by_sound(lecture, words, coarse, features, regions)


def placed_by_sound(
    lecture: str, words: Sequence[str], times: WordTimes, features: NDArray[np.float32], regions: NDArray[np.int64]
) -> WordTimes:
    """Times of the same words, by their sound. Scores stay those of `times`.

    Words without a time in long runs stay without one, and so does speech far from any word's time: they are faults of
    the text, which whoever made `times` has seen.

    Args:
      lecture: its id, for messages.
      words: (W,) of the transcript.
      times: of the words, right to a second or so.
      features: (10 ms frames, mel bins) log-mels.
      regions: (R, 2) stretches of speech in samples.
    Returns:
      `times` itself if it has too few words, or if their sounds do not fit them.
    """
    timed = np.isfinite(times.start)
    chosen = np.flatnonzero(timed | _in_short_gap(timed))
    if timed.sum() < _FEWEST_WORDS:
        logger.info("lecture %s: %d words with times are too few to refine these", lecture, timed.sum())
        return times
    spelling = PronunciationUnits.of_texts([" ".join(words)], _NUM_ENGLISH_PIECES)
    encoded = spelling.encode_words(words)
    units = [encoded[w] for w in chosen]
    frames = cepstra(features)
    is_speech = _covers(regions / FRAME, num_frames(frames))
    tails = np.stack([regions[:, 1] - HANGOVER * SAMPLE_RATE, regions[:, 1]], axis=1)
    is_tail = _covers(tails / FRAME, num_frames(frames))  # perhaps no longer speech
    may_speak = _near_words(times, num_frames(frames))
    start = _filled(times.start[chosen])
    for _ in range(_MAX_ROUNDS):
        labels = _labels(start, units, is_speech)
        labels[is_tail] = -1
        sounds = UnitSounds.fit(frames, labels, len(spelling))
        try:
            placed = _placed(lecture, sounds, frames, may_speak, units, start)
        except DataError as e:
            logger.warning("%s; the words keep the times that they had", e)
            return times
        behind = after_pauses(placed.start * SAMPLE_RATE, regions) / SAMPLE_RATE
        placed = replace(placed, start=behind, end=np.maximum(placed.end, behind))
        moved = np.abs(placed.start - start)
        start = _filled(placed.start)
        if np.nanquantile(moved, 0.95) <= _SETTLED:
            break
    return _checked(lecture, times, chosen, placed)


def _fit(times: WordTimes, regions: NDArray[np.int64], seconds: float) -> float:
    """How the timed words agree with the speech of a recording: 0.9 for exact times."""
    timed = np.isfinite(times.start)
    return agreement(times.start[timed], times.end[timed], regions / SAMPLE_RATE, seconds)[0]


def _placed(
    lecture: str,
    sounds: UnitSounds,
    frames: NDArray[np.float32],
    may_speak: NDArray[np.bool_],
    units: Sequence[Sequence[int]],
    start: NDArray[np.float64],
) -> WordTimes:
    """Times of words by their sound. The search takes some minutes at a time, and the words around their ends twice.

    Raises:
      DataError: a piece has more units than frames.
    """
    unknown = np.full(len(units), np.nan)
    times = WordTimes(unknown.copy(), unknown.copy(), unknown)
    at = start * SAMPLE_RATE / FRAME
    piece, margin, slack = (int(seconds * SAMPLE_RATE / FRAME) for seconds in (_PIECE, _MARGIN, _REACH))
    for begin in range(0, len(may_speak), piece):
        end = begin + piece
        inside = np.flatnonzero((at >= begin - margin) & (at < end + margin))
        core = (at[inside] >= begin) & (at[inside] < end)
        if not core.any():
            continue
        first, stop = max(0, begin - margin - slack), min(len(may_speak), end + margin + slack)
        flat = np.array([u for w in inside.tolist() for u in units[w]], dtype=np.int64)
        path = align(sounds.log_probs(frames, may_speak, first, stop), flat, lecture)
        placed = words_of_units(path, [len(units[w]) for w in inside.tolist()], FRAME)
        chosen, offset = inside[core], first * FRAME / SAMPLE_RATE
        times.start[chosen], times.end[chosen] = placed.start[core] + offset, placed.end[core] + offset
    return replace(times, start=_ascending(times.start))


def _ascending(start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Starts that never go back, as they may where two pieces of the search meet; NaN stays."""
    return np.where(np.isfinite(start), np.fmax.accumulate(start), np.nan)


def _filled(start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Starts where a word without one has that of the word before it, or of the first word that has one."""
    filled = np.fmax.accumulate(start)
    return np.where(np.isfinite(filled), filled, np.nanmin(start))


def _checked(lecture: str, times: WordTimes, chosen: NDArray[np.int64], placed: WordTimes) -> WordTimes:
    """The times of the placed words, without those that are far from where they were."""
    start, end = np.full(len(times.start), np.nan), np.full(len(times.start), np.nan)
    start[chosen], end[chosen] = placed.start, placed.end
    moved = np.abs(start - times.start)
    is_far = moved > _FARTHEST
    if is_far.sum() > _MOST_FAR * np.isfinite(moved).sum():
        logger.warning(
            "lecture %s: by their sound, %d of %d words would be over %g s from their times, which are kept; is the "
            "text that of this recording?",
            lecture,
            is_far.sum(),
            np.isfinite(moved).sum(),
            _FARTHEST,
        )
        return times
    start[is_far], end[is_far] = np.nan, np.nan
    logger.info(
        "lecture %s: times refined by sound: words moved by %.0f ms (median), %.0f ms (95%%)",
        lecture,
        *(1000 * float(np.nanquantile(moved, q)) for q in (0.5, 0.95)),
    )
    return replace(times, start=start, end=end)


def _in_short_gap(timed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(W,) which words are in a run of at most _LONGEST_GAP untimed words."""
    inside = np.zeros(len(timed), bool)
    untimed = np.flatnonzero(~timed)
    for run in np.split(untimed, np.flatnonzero(np.diff(untimed) > 1) + 1):
        inside[run] = len(run) <= _LONGEST_GAP
    return inside


def _covers(spans: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """(count,) which frames are in one of the (S, 2) spans, which are in frames."""
    edges = np.clip(np.rint(spans).astype(np.int64), 0, count)
    change = np.zeros(count + 1, np.int64)
    np.add.at(change, edges[:, 0], 1)
    np.add.at(change, edges[:, 1], -1)
    covered: NDArray[np.bool_] = np.cumsum(change)[:-1] > 0
    return covered


def _near_words(times: WordTimes, count: int) -> NDArray[np.bool_]:
    """(count,) which frames are near a word's time."""
    timed = np.isfinite(times.start)
    spans = np.stack([times.start[timed] - _REACH, times.end[timed] + _REACH], axis=1)
    return _covers(spans * SAMPLE_RATE / FRAME, count)


def _labels(
    start: NDArray[np.float64], units: Sequence[Sequence[int]], is_speech: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """(T,) the unit of each frame of speech: a word's units share the speech up to the next word; 0: silence.

    -1 where it is not known: speech before the first word, or longer after a word than its units can last.

    Args:
      start: of each word in seconds, ascending; words with the same start share its time.
      units: of each word.
      is_speech: (T,).
    """
    labels = np.where(is_speech, -1, 0)
    places = np.flatnonzero(is_speech)
    spoken_before = np.concatenate([[0.0], np.cumsum(is_speech)])
    timed = np.flatnonzero(np.diff(start, prepend=-1.0) > 0)
    at = np.interp(start[timed] * SAMPLE_RATE / FRAME, np.arange(len(spoken_before)), spoken_before)
    longest = _UNIT * SAMPLE_RATE / FRAME
    for k, (word, following) in enumerate(pairwise([*timed.tolist(), len(units)])):
        group = [u for w in range(word, following) for u in units[w]]
        end = min(at[k + 1] if k + 1 < len(at) else len(places), at[k] + longest * len(group))
        edges = np.rint(np.linspace(at[k], end, len(group) + 1)).astype(np.int64)
        for unit, (first, stop) in zip(group, pairwise(edges.tolist())):
            labels[places[first:stop]] = unit
    return labels
