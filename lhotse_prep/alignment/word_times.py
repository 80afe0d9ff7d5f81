"""Times of words, completed with voice activity: words that the model does not know, late onsets, where words end.

A model that learns on the lectures themselves never learns a rare English word. Its neighbours are timed, and between
them is speech that belongs to no other word: the rare word is there. If there is no such speech, it was not spoken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.vad import HANGOVER
from lhotse_prep.text.characters import is_han

RECOGNISED = 0.5  # score of a word from which a model counts as having recognised it
_LONGEST_FILL = 3.0  # seconds that the words between two timed words may take
_LEAST_SPEECH, _MOST_SPEECH = 0.4, 2.5  # speech that words may fill, relative to the length expected of them
# _LEAST_SPEECH where the model recognises most words, so that one that it misses is foreign and long, or not said; this
# much may also be the rest of the word before
_MOST_RECOGNISED, _LEAST_OF_FEW = 0.8, 1.2
_LONG_WORD = 0.5  # seconds that a word may take whatever is expected: foreign words are often spelt
_SLACK = 0.15  # seconds of speech that may belong to a neighbour
_REST = 0.65  # seconds of speech that may be the rest of the last word before a pause
_ENOUGH_TAILS = 50  # syllables before others, to know how long they last after the model has fired
_LEAST_TAIL, _SHORT_PAUSE = 0.05, 0.1  # seconds
# seconds between the quartiles of the times from the beginning of stretches to their first words (measured: 0.02 to
# 0.04, in noise 0.05 to 0.24); if they are further apart, stretches do not begin with words
_MOST_SPREAD = 0.1
# The same of recognised Chinese characters, up to which stretches surely begin with words (measured: 0.02 to 0.06, in
# noise 0.04 to 0.14)
_SURE_SPREAD = 0.06
_LATE = 0.1  # seconds after the onset of speech, from which a word that is no character was emitted late in it
_ENOUGH_LAGS = 8
_LEAST_PAUSE, _EARLIEST_WORD = 0.3, 0.1  # seconds before the beginning of stretches
_LATEST_ONSET = 0.5  # seconds; a word that starts later than this after the onset of speech is not drawn to the onset


def are_characters(words: Sequence[str]) -> NDArray[np.bool_]:
    """(W,) which words are one Chinese character, and so one syllable."""
    return np.array([is_han(word) for word in words], dtype=bool)


@dataclass(frozen=True)
class WordTimes:
    """Where each word of a transcript is spoken."""

    start: NDArray[np.float64]  # (W,) seconds, ascending; NaN for a word that is not spoken
    end: NDArray[np.float64]  # (W,) seconds
    score: NDArray[np.float64]  # (W,) mean probability of the word's units, 0..1
    agreement: float | None = None  # of a recogniser's words with the speech (speech_fit); None: timed by a model
    wrong: NDArray[np.bool_] | None = None  # (W,) words that are not said here (search.passages, search.unsaid)

    def without_wrong(self) -> WordTimes:
        """The same without the times of words that are not said here."""
        if self.wrong is None:
            return self
        start, end = np.where(self.wrong, np.nan, self.start), np.where(self.wrong, np.nan, self.end)
        return WordTimes(start, end, np.where(self.wrong, 0.0, self.score), self.agreement)


def complete(
    times: WordTimes,
    num_units: NDArray[np.int64],
    regions: NDArray[np.float64],
    is_character: NDArray[np.bool_] | None = None,
) -> WordTimes:
    """Time words between timed words where speech is left for them, and draw first words to the onset of speech.

    Words that the model recognises are not drawn: it knows better where they begin than voice activity, which takes
    other voices for speech. Only with other words than Chinese characters it may be late: one piece of an English word
    lasts half a second, and is emitted anywhere in it. So these are drawn too where stretches surely begin with words,
    as the characters show that begin them.

    Args:
      times: from the model.
      num_units: (W,) units of each word, from which its length is estimated.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
      is_character: (W,) words that are one Chinese character; None: unknown.
    """
    start, end = times.start.copy(), times.end.copy()
    unit = _unit_duration(start, num_units)
    if not np.isfinite(unit):
        return times
    is_sure = float((times.score >= RECOGNISED).mean()) >= _MOST_RECOGNISED
    least = _LEAST_OF_FEW if is_sure else _LEAST_SPEECH
    untimed = np.flatnonzero(np.isnan(start))
    for run in np.split(untimed, np.flatnonzero(np.diff(untimed) > 1) + 1) if len(untimed) else []:
        first, stop = int(run[0]), int(run[-1]) + 1
        if first == 0 or stop == len(start):
            continue
        begin = max(end[first - 1], start[first - 1] + unit * num_units[first - 1])
        pieces = _clip(regions, begin, start[stop])
        expected = unit * num_units[first:stop].sum()
        most = max(_MOST_SPEECH * expected, _LONG_WORD * (stop - first)) + _SLACK
        fitting = [p for p in _choices(pieces) if least * expected <= _length(p) <= most]
        if fitting and expected <= _LONGEST_FILL:
            speech = min(fitting, key=lambda p: abs(np.log(_length(p) / expected)))
            start[first:stop], end[first:stop] = _spread(num_units[first:stop], speech)
    start = np.where(times.score < RECOGNISED, drawn_to_onsets(start, end, regions), start)
    if is_character is not None and times.agreement is None:
        lags = first_lags(times.start, regions, is_character & (times.score >= RECOGNISED))
        if len(lags) >= _ENOUGH_LAGS and not is_spread(lags, _SURE_SPREAD):
            may_move = ~is_character & np.isfinite(np.append(0.0, start[:-1]))  # else the word before may be said there
            start = np.where(may_move, _drawn(start, end, regions, _LATE), start)
    return replace(times, start=start, end=end)


def drawn_to_onsets(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64], least: float = _SLACK
) -> NDArray[np.float64]:
    """Starts of words, where the first word of a stretch of speech starts with the stretch.

    A word is moved by at least `least` and at most _LATEST_ONSET seconds: if it starts later, what comes before it may
    be speech without text. No word is moved where words begin at all sorts of times after stretches do: then stretches
    begin with noise, or with other voices.

    Args:
      start: (W,) seconds, ascending; NaN for a word that is not spoken.
      end: (W,) seconds.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
      least: seconds; smaller lags are the model's precision.
    """
    lags = first_lags(start, regions)
    is_noisy = len(lags) >= _ENOUGH_LAGS and is_spread(lags)
    return _drawn(start, end, regions, math.inf if is_noisy else least)


def _drawn(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64], least: float
) -> NDArray[np.float64]:
    """As drawn_to_onsets, whatever stretches begin with."""
    start = start.copy()
    timed = np.flatnonzero(np.isfinite(start))
    before = np.concatenate([[-np.inf], end[timed[:-1]]])
    region = np.searchsorted(regions[:, 0], start[timed], side="right") - 1
    onset = np.where(region >= 0, regions[np.maximum(region, 0), 0], -np.inf)
    lag = start[timed] - onset
    moved = (before <= onset) & (lag > least) & (lag <= _LATEST_ONSET)
    start[timed[moved]] = onset[moved]
    return start


def first_lags(
    start: NDArray[np.float64], regions: NDArray[np.float64], among: NDArray[np.bool_] | None = None
) -> list[float]:
    """Seconds from the beginning of stretches after a pause to the first words there, from -0.1 to _LATEST_ONSET.

    Args:
      start, regions: as in drawn_to_onsets.
      among: (W,) only where the first word is one of these; None: wherever it is.
    """
    timed = np.flatnonzero(np.isfinite(start))
    onsets = regions[1:, 0][regions[1:, 0] - regions[:-1, 1] >= _LEAST_PAUSE]
    index = np.searchsorted(start[timed], onsets - _EARLIEST_WORD)
    onsets, first = onsets[index < len(timed)], timed[index[index < len(timed)]]
    if among is not None:
        onsets, first = onsets[among[first]], first[among[first]]
    lags = start[first] - onsets
    return [float(lag) for lag in lags if lag < _LATEST_ONSET]


def is_spread(lags: Sequence[float], most: float = _MOST_SPREAD) -> bool:
    """Whether first_lags differ so much (seconds between their quartiles) that stretches do not begin with words."""
    return len(lags) > 0 and float(np.subtract(*np.quantile(lags, (0.75, 0.25)))) > most


def drawn_out(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    regions: NDArray[np.float64],
    max_word: float | NDArray[np.float64],
    is_character: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Ends of words, drawn out to the next word's start or the end of the speech; CTC fires within a word.

    Stretches last HANGOVER longer than their speech. No word is drawn out beyond max_word: at speech that has no text
    it would last minutes. Where a syllable would be drawn out much longer than most are, there is a pause that was not
    detected, since it is short or others speak in it: the syllable lasts as long as three of four.

    Args:
      start, end, regions: as in drawn_to_onsets.
      max_word: seconds; one number for all timed words, or one for each.
      is_character: as in complete.
    """
    end = end.copy()
    timed = np.flatnonzero(np.isfinite(start))
    following = np.append(start[timed[1:]], np.inf)
    region = np.searchsorted(regions[:, 0], end[timed], side="right") - 1
    speech_end = np.where(region >= 0, regions[np.maximum(region, 0), 1], 0.0) - HANGOVER
    limit = np.minimum(np.minimum(speech_end, following), start[timed] + max_word)
    if is_character is not None:
        tails = following - end[timed]
        is_next = np.append(np.diff(timed) == 1, False)  # else the words between may be said there
        goes_on = is_character[timed] & is_next & (following <= speech_end)
        if goes_on.sum() >= _ENOUGH_TAILS:
            usual = max(_LEAST_TAIL, float(np.quantile(tails[goes_on], 0.75)))
            has_pause = goes_on & (tails > 2 * usual + _SHORT_PAUSE)
            limit = np.where(has_pause, np.minimum(limit, end[timed] + usual), limit)
    end[timed] = np.maximum(end[timed], limit)
    return end


def _unit_duration(start: NDArray[np.float64], num_units: NDArray[np.int64]) -> float:
    """Median seconds per unit, from words that follow one another without a pause; NaN if no words do."""
    steps = np.diff(start)
    close = np.isfinite(steps) & (steps < 0.6) & (steps > 0)
    return float(np.median(steps[close] / num_units[:-1][close])) if close.any() else float("nan")


def _clip(regions: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """The parts of the regions between begin and end, (P, 2)."""
    first, stop = np.searchsorted(regions[:, 1], begin, side="right"), np.searchsorted(regions[:, 0], end)
    pieces = np.clip(regions[first:stop], begin, max(begin, end))
    return pieces[pieces[:, 1] > pieces[:, 0]]


def _choices(pieces: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """All pieces of speech, and all but the first if that may be the rest of the last word before a pause."""
    return [pieces, pieces[1:]] if len(pieces) > 1 and _length(pieces[:1]) < _REST else [pieces]


def _length(pieces: NDArray[np.float64]) -> float:
    return float((pieces[:, 1] - pieces[:, 0]).sum())


def _spread(
    num_units: NDArray[np.int64], pieces: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spread words over the speech in proportion to their units; none begins at the very end of a piece."""
    lengths = pieces[:, 1] - pieces[:, 0]
    edges = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.concatenate([[0.0], np.cumsum(num_units)]) / num_units.sum() * edges[-1]
    start, end = np.empty(len(num_units)), np.empty(len(num_units))
    for w in range(len(num_units)):
        piece = min(int(np.searchsorted(edges, at[w], side="right")) - 1, len(pieces) - 1)
        if piece + 1 < len(pieces) and edges[piece + 1] - at[w] < min(_SLACK, (at[w + 1] - at[w]) / 2):
            piece, at[w] = piece + 1, edges[piece + 1]
        start[w] = pieces[piece, 0] + at[w] - edges[piece]
        end[w] = min(pieces[piece, 1], start[w] + at[w + 1] - at[w])
    return start, end
