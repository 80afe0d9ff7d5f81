"""How well words with times fit the speech of a recording, and where they would fit better.

Words and speech pause together. Both are written as activity (1 where there is a word, or speech; else 0), less what
varies slowly, and correlated at all lags: words at their right times correlate with the speech at lag 0 and nowhere
else, words that were shifted do so at another lag, and words that were stretched do once they are shrunk. This is
looked for in the whole recording, and in spans of it, so as to see times that are right at first and wrong later.

Legend: W words, R stretches of speech, T steps of activity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

_RATE = 10  # steps of activity a second
_LONGEST_WORD = 0.4  # seconds of a word that count as activity: some recognisers draw words out over pauses
_SLOW = 15.0  # seconds; what varies more slowly, such as breaks, is not compared
_SPAN = 150.0  # seconds of words that are searched together
_NEAR = 0.5  # seconds of lag that count as none
_FAR = (4.0, 120.0)  # seconds of the lags at which words agree with speech by chance only
_MOST_STRETCH = 0.1
_LONGEST_STRETCHED = 1800.0  # seconds; in longer recordings, stretches are looked for in spans only
_SPEEDS = (0.5, 2 / 3, 0.75, 0.8, 1.25, 4 / 3, 1.5, 2.0)  # of players, and of wrong sampling rates
_LEAST_INSIDE = 0.8  # of the words' span that must stay in the recording
_MIN_WORDS, _MIN_PAUSES = 40, 10  # of a span: with fewer, words may well fit elsewhere by chance
# What chance makes of a correlation is at least 0.5 / sqrt(seconds) and 0.27 / sqrt(pauses), whichever is more.
_PER_SECOND, _PER_PAUSE = 0.5, 0.27
# Times that noise, above which it is no chance: among all lags, among stretches too, and in one of many spans.
_SURE_SHIFT, _SURE_STRETCH, _SURE_SPAN = 6.0, 7.0, 9.0
_BETTER = 1.5  # times the correlation at lag 0
_CERTAIN = 12.0  # times the noise: at lag 0, nothing else is searched
_GOOD = 8.0  # times the noise: at lag 0 of the whole, stretches are looked for in spans only


@dataclass(frozen=True)
class Misfit:
    """Words that fit the speech better at other times than their own."""

    begin: float  # seconds, of the first word
    end: float  # of the last word
    scale: float  # the times that fit are begin + scale * (their time - begin) + lag
    lag: float  # seconds
    num_words: int

    @property
    def offset(self) -> float:
        """Seconds to add in the middle of the span."""
        return self.lag + (self.scale - 1) * (self.end - self.begin) / 2

    @property
    def largest_offset(self) -> float:
        """The same at the end of the span where it is largest, without sign."""
        return max(abs(self.lag), abs(self.lag + (self.scale - 1) * (self.end - self.begin)))


@dataclass(frozen=True)
class SpeechFit:
    """How words fit the speech of a recording."""

    agreement: float  # correlation at lag 0: 0.9 for exact times, 0.15 for times some 0.4 s off, 0 by chance
    noise: float  # what chance makes of it
    misfits: tuple[Misfit, ...]


def speech_fit(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64], seconds: float
) -> SpeechFit:
    """Compare words with speech, and look for other times that would fit better.

    Args:
      start: (W,) seconds, ascending; at least one.
      end: (W,) seconds.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
      seconds: duration of the recording.
    """
    speech, words = _Speech(regions, seconds), _active(start, end)
    near, noise = speech.near(speech.correlation(words)), speech.noise(words)
    length = float(words[-1, 0] - words[0, 0])
    misfits = [_misfit(words, speech, length <= _LONGEST_STRETCHED and near < _GOOD * noise, _SURE_SHIFT)]
    num_spans = max(1, round(length / _SPAN))
    edges = words[0, 0] + np.arange(1, num_spans) * length / num_spans
    for span in np.split(words, np.searchsorted(words[:, 0], edges)) if num_spans > 1 else []:
        misfits.append(_misfit_of_span(span, regions, seconds))
    return SpeechFit(near, noise, tuple(m for m in misfits if m is not None))


def agreement(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64], seconds: float
) -> tuple[float, float]:
    """SpeechFit.agreement and its noise; arguments as for speech_fit."""
    speech, words = _Speech(regions, seconds), _active(start, end)
    return speech.near(speech.correlation(words)), speech.noise(words)


class _Speech:
    """The activity of a recording's speech, ready to be correlated with that of words."""

    def __init__(self, regions: NDArray[np.float64], seconds: float) -> None:
        self.seconds = seconds
        self.num_steps = int(np.ceil(seconds * _RATE)) + 1
        self.activity = _activity(regions, self.num_steps)
        fast = _fast(self.activity)
        self.lags = np.arange(-(self.num_steps - 1), self.num_steps) / _RATE
        self.num_points = 1 << (2 * self.num_steps - 1).bit_length()
        self.spectrum = np.fft.rfft(fast, self.num_points)
        self.energy = float((fast**2).sum())

    def correlation(self, words: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of words (W, 2), if they came self.lags later, with the speech; (2T - 1,)."""
        fast = _fast(_activity(words, self.num_steps))
        product = np.fft.irfft(self.spectrum * np.fft.rfft(fast, self.num_points).conj(), self.num_points)
        product = np.concatenate([product[-(self.num_steps - 1) :], product[: self.num_steps]])
        product /= np.sqrt(self.energy * self._share(words) * (fast**2).sum()) + 1e-9
        return product

    def near(self, correlation: NDArray[np.float64]) -> float:
        """The highest correlation at lags that count as none."""
        return float(correlation[np.abs(self.lags) <= _NEAR].max())

    def best(self, correlation: NDArray[np.float64], begin: float, end: float) -> tuple[float, float]:
        """The highest correlation and its lag, of words from begin to end, most of which stay in the recording."""
        outside = (1 - _LEAST_INSIDE) * (end - begin) + 1.0
        inside = (begin + self.lags >= -outside) & (end + self.lags <= self.seconds + outside)
        place = int(np.where(inside, correlation, -1.0).argmax())
        return float(correlation[place]), float(self.lags[place])

    def noise(self, words: NDArray[np.float64]) -> float:
        """How high a correlation is by chance."""
        far = (np.abs(self.lags) >= _FAR[0]) & (np.abs(self.lags) <= _FAR[1])
        measured = float(self.correlation(words)[far].std()) if far.any() else 1.0
        length, num_pauses = self._share(words) * self.seconds, self.num_pauses(words)
        return float(max(measured, _PER_SECOND / max(length, 1.0) ** 0.5, _PER_PAUSE / max(num_pauses, 0.07) ** 0.5))

    def num_pauses(self, words: NDArray[np.float64]) -> float:
        """Pauses of the words, or of the speech while they last if these are fewer."""
        return min(_num_pauses(_activity(words, self.num_steps)), _num_pauses(self.activity) * self._share(words))

    def _share(self, words: NDArray[np.float64]) -> float:
        """The part of the recording that words cover from the first to the last."""
        return float(np.clip((words[-1, 1] - words[0, 0]) / self.seconds, 1e-3, 1.0)) if len(words) else 1e-3


def _misfit(words: NDArray[np.float64], speech: _Speech, stretches: bool, least: float) -> Misfit | None:
    """Other times at which words (W, 2) surely fit the speech better.

    Args:
      words: with times from the beginning of the speech.
      speech: of the recording, or of a part of it.
      stretches: whether to look for other speeds too.
      least: times the noise that the correlation must be.
    """
    if len(words) < _MIN_WORDS or speech.num_pauses(words) < _MIN_PAUSES:
        return None
    begin, end = float(words[0, 0]), float(words[-1, 1])
    correlation, noise = speech.correlation(words), speech.noise(words)
    near = speech.near(correlation)
    if near >= _CERTAIN * noise:
        return None
    (best, lag), scale = speech.best(correlation, begin, end), 1.0
    sure = best >= least * noise
    if stretches and best < _CERTAIN * noise:
        step = 1 / max(end - begin, 10.0)  # moves the last word by a second
        for other in (*np.arange(1 - _MOST_STRETCH, 1 + _MOST_STRETCH, step), *_SPEEDS):
            moved = begin + other * (words - begin)
            value, other_lag = speech.best(speech.correlation(moved), begin, float(moved[-1, 1]))
            if value > best and value >= max(least, _SURE_STRETCH) * noise:
                best, lag, scale, sure = value, other_lag, float(other), True
    return Misfit(begin, end, scale, lag, len(words)) if sure and best >= _BETTER * near else None


def _misfit_of_span(words: NDArray[np.float64], regions: NDArray[np.float64], seconds: float) -> Misfit | None:
    """_misfit of words (W, 2) that are a part of a recording's, at lags of at most _FAR[1]."""
    if len(words) < _MIN_WORDS:
        return None
    first, last = max(words[0, 0] - _FAR[1], 0.0), min(words[-1, 1] + _FAR[1], seconds)
    inside = regions[(regions[:, 1] > first) & (regions[:, 0] < last)]
    speech = _Speech(np.clip(inside, first, last) - first, float(last - first))
    misfit = _misfit(words - first, speech, True, _SURE_SPAN)
    return None if misfit is None else replace(misfit, begin=misfit.begin + first, end=misfit.end + first)


def _active(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """The time of each word that counts as activity, (W, 2) seconds."""
    return np.stack([start, np.clip(end, start + 0.1, start + _LONGEST_WORD)], axis=1)


def _activity(spans: NDArray[np.float64], num_steps: int) -> NDArray[np.float64]:
    """1 in the steps that a span touches, else 0; (T,)."""
    first = np.clip(np.round(spans[:, 0] * _RATE), 0, num_steps).astype(np.int64)
    stop = np.clip(np.maximum(np.round(spans[:, 1] * _RATE), first + 1), 0, num_steps).astype(np.int64)
    edges = np.bincount(first, minlength=num_steps + 1) - np.bincount(stop, minlength=num_steps + 1)
    return np.minimum(np.cumsum(edges[:-1]), 1).astype(np.float64)


def _fast(activity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Activity (T,) less its mean over _SLOW seconds around."""
    half = int(_SLOW * _RATE) // 2
    sums = np.concatenate([[0.0], np.cumsum(activity)])
    places = np.arange(len(activity))
    first, stop = np.maximum(places - half, 0), np.minimum(places + half + 1, len(activity))
    means: NDArray[np.float64] = (sums[stop] - sums[first]) / (stop - first)
    return activity - means


def _num_pauses(activity: NDArray[np.float64]) -> int:
    return int((np.diff(activity) < 0).sum())
