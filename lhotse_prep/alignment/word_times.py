"""Times of words, made whole with the help of voice activity: words that the model does not know, late onsets.

A model that learns on the lectures themselves never learns a rare English word. Its neighbours are timed, and there is
speech between them that is nobody else's: that is where the word is. Where there is none, it was not spoken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LONGEST_FILL = 3.0  # seconds that the words between two timed ones may take
_LEAST_SPEECH, _MOST_SPEECH = 0.4, 2.5  # speech found for words, in parts of what they are expected to take
_LONG_WORD = 0.5  # seconds that a word may take whatever is expected: foreign ones are often spelt
_SLACK = 0.15  # seconds of speech that may be a neighbour's
_REST = 0.65  # seconds of speech that may be the rest of the last word before a pause
_LATEST_ONSET = 0.5  # seconds from the begin of speech to the time of its first word, at most, to be drawn there


@dataclass(frozen=True)
class WordTimes:
    """Where each word of a transcript is spoken."""

    start: NDArray[np.float64]  # (W,) seconds, ascending; NaN for a word that is not spoken
    end: NDArray[np.float64]  # (W,) seconds
    score: NDArray[np.float64]  # (W,) mean probability of the word's units, 0..1


def complete(times: WordTimes, num_units: NDArray[np.int64], regions: NDArray[np.float64]) -> WordTimes:
    """Time words between timed ones where speech is left for them, and draw first words to where speech begins.

    Args:
      times: as the model gives them.
      num_units: (W,) units of each word, from which its length is guessed.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
    """
    start, end = times.start.copy(), times.end.copy()
    unit = _unit_duration(start, num_units)
    if not np.isfinite(unit):
        return times
    untimed = np.flatnonzero(np.isnan(start))
    for run in np.split(untimed, np.flatnonzero(np.diff(untimed) > 1) + 1) if len(untimed) else []:
        first, stop = int(run[0]), int(run[-1]) + 1
        if first == 0 or stop == len(start):
            continue
        begin = max(end[first - 1], start[first - 1] + unit * num_units[first - 1])
        pieces = _clip(regions, begin, start[stop])
        wanted = unit * num_units[first:stop].sum()
        most = max(_MOST_SPEECH * wanted, _LONG_WORD * (stop - first)) + _SLACK
        fitting = [p for p in _choices(pieces) if _LEAST_SPEECH * wanted <= _length(p) <= most]
        if fitting and wanted <= _LONGEST_FILL:
            speech = min(fitting, key=lambda p: abs(np.log(_length(p) / wanted)))
            start[first:stop], end[first:stop] = _spread(num_units[first:stop], speech)
    return WordTimes(_drawn_to_onsets(start, end, regions), end, times.score)


def _unit_duration(start: NDArray[np.float64], num_units: NDArray[np.int64]) -> float:
    """Median seconds a unit takes, from words that follow one another without a pause; NaN where there are none."""
    steps = np.diff(start)
    close = np.isfinite(steps) & (steps < 0.6) & (steps > 0)
    return float(np.median(steps[close] / num_units[:-1][close])) if close.any() else float("nan")


def _clip(regions: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """The parts of the regions between begin and end, (P, 2)."""
    first, stop = np.searchsorted(regions[:, 1], begin, side="right"), np.searchsorted(regions[:, 0], end)
    pieces = np.clip(regions[first:stop], begin, max(begin, end))
    return pieces[pieces[:, 1] > pieces[:, 0]]


def _choices(pieces: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The pieces of speech, and those without the first: it may be the rest of the last word before a pause."""
    return [pieces, pieces[1:]] if len(pieces) > 1 and _length(pieces[:1]) < _REST else [pieces]


def _length(pieces: NDArray[np.float64]) -> float:
    return float((pieces[:, 1] - pieces[:, 0]).sum())


def _spread(
    num_units: NDArray[np.int64], pieces: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Words in proportion to their units over the speech; one that would begin at a piece's very end waits."""
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


def _drawn_to_onsets(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(W,) starts; that of the first word in a stretch of speech is the stretch's begin where it came out late."""
    start = start.copy()
    timed = np.flatnonzero(np.isfinite(start))
    before = np.concatenate([[-np.inf], end[timed[:-1]]])
    region = np.searchsorted(regions[:, 0], start[timed], side="right") - 1
    onset = np.where(region >= 0, regions[np.maximum(region, 0), 0], -np.inf)
    late = start[timed] - onset
    drawn = (before <= onset) & (late > _SLACK) & (late <= _LATEST_ONSET)
    start[timed[drawn]] = onset[drawn]
    return start
