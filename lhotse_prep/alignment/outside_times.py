"""Times of words from outside, such as a recogniser's, held against the recording: its length and its speech.

What cannot be is refused, with what is off and by how much; what is doubtful is a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.speech_fit import Misfit, SpeechFit, agreement, speech_fit
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)

_AFTER_END = 1.0  # seconds after the end of a recording at which a word may start
_MOST_AFTER = 0.01  # of all words that may start later, and are left out
_MOST_WORDS_A_SECOND = 15.0  # Chinese characters count as words
_FEW, _MANY = 20, 100  # words: of fewer, any speed is possible; of more, none says all at one pace
_EVEN = 1.05  # times the shortest step from word to word: in speech, the longest steps are longer than that
_LONGEST_WORD = 10.0  # seconds; longer words are counted
_MOST_LONG = 0.05  # of all words
_MOST_OFFSET, _SMALL_OFFSET = 1.25, 0.4  # seconds; above the first an offset is refused, above the second it is said
_MOST_MISFITS = 0.1  # of all words in spans that fit elsewhere, above which the file is refused
# Of all words, above which those in spans that are off alike show a shift of all words, or a stretch.
_MOST_SHIFTED, _MOST_STRETCHED = 0.8, 0.55
_SAME = 0.5  # seconds that offsets of one shift, or one stretch, may differ
_CLEAR = 5.0  # times the noise: agreement that shows a unit of time
_NO_AGREEMENT = 3.0  # times the noise: less, in so long a recording, is refused; see the docs for measurements
_LONG, _LITTLE_NOISE = 1200.0, 0.03  # seconds; correlation
_DOUBTFUL = 1.5  # times the noise: less is a warning
NEAR_SPEECH = 0.3  # seconds between a word and speech within which the word may be that speech
_MOST_SILENT = 0.5  # of all words
_REACH = 1.0  # seconds around a word within which speech counts as covered
_LEAST_COVERED = 0.8  # of the speech; less is a warning
UNITS = {
    "milliseconds": 1e3,
    "microseconds": 1e6,
    "nanoseconds": 1e9,
    "units of 100 ns": 1e7,
    "frames of 10 ms": 100.0,
    "frames of 20 ms": 50.0,
    "frames of 40 ms": 25.0,
    "frames of 80 ms": 12.5,
    "samples at 8 kHz": 8e3,
    "samples at 16 kHz": 16e3,
    "samples at 44.1 kHz": 44.1e3,
    "samples at 48 kHz": 48e3,
    "minutes": 1 / 60,
    "hours": 1 / 3600,
}  # {unit: how many are a second}


@dataclass(frozen=True)
class Recording:
    """What times are held against."""

    id: str
    seconds: float
    regions: NDArray[np.float64]  # (R, 2) stretches of speech in seconds, ascending, disjoint


def check_times(words: Hypothesis, recording: Recording) -> tuple[Hypothesis, SpeechFit]:
    """The words that can be of a recording, and how they fit its speech; warns of what is doubtful.

    Raises:
      DataError: times in another unit, beyond the end, shifted, stretched, of another recording, or where nobody
        speaks.
    """
    if not words.words:
        return words, SpeechFit(0.0, 1.0, ())
    late = words.start > recording.seconds + _AFTER_END
    is_late = late.sum() > max(_MOST_AFTER * len(late), 1)
    if is_late or _is_too_fast(words.start):
        _refuse_unit(words, recording)
    _refuse_long_words(words, recording)
    kept = _chosen(words, words.start <= recording.seconds + _AFTER_END)
    fit = speech_fit(kept.start, kept.end, recording.regions, recording.seconds)
    _refuse_misfits(fit, len(kept.words), recording)
    if is_late or _is_too_fast(words.start):
        raise DataError(_span(words, recording) + "; are they of another recording, or in another unit of time?")
    if late.any():
        logger.warning("%s; they are left out", _span(words, recording))
    _check_agreement(fit, kept, recording)
    _warn_of_gaps(kept, recording)
    return kept, fit


def share_in_speech(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64], slack: float
) -> NDArray[np.float64]:
    """The part of each word, 0..1, that is within `slack` seconds of speech; (W,), 0 for a word without a time.

    Args:
      start, end: (W,) seconds; NaN for a word without a time.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
      slack: added on both sides of a word, whose length is not changed by it.
    """
    edges = regions.ravel()
    until = np.cumsum(np.diff(np.concatenate([[0.0], edges])) * (np.arange(len(edges)) % 2))
    first = np.nan_to_num(start)
    last = np.maximum(np.nan_to_num(end), first + 0.01)
    speech = np.interp(last + slack, edges, until, left=0.0) - np.interp(first - slack, edges, until, left=0.0)
    return np.where(np.isfinite(start), np.minimum(speech / (last - first), 1.0), 0.0)


def uncovered_speech(
    start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 2) seconds, the parts of the speech that have no word within _REACH seconds; words as for share_in_speech."""
    timed = np.isfinite(start)
    first, last = start[timed] - _REACH, np.maximum.accumulate(end[timed]) + _REACH
    gaps = np.stack([np.append(-np.inf, last), np.append(first, np.inf)], axis=1)
    parts = [np.clip(regions, *gap) for gap in gaps if gap[0] < gap[1]]
    pieces = np.concatenate(parts) if parts else np.zeros((0, 2))
    return pieces[pieces[:, 1] > pieces[:, 0]]


def misplaced(fit: SpeechFit) -> list[Misfit]:
    """The words that fit the speech so far from their times that these cannot be right."""
    return [m for m in fit.misfits if m.largest_offset > _MOST_OFFSET]


def part_covered(start: NDArray[np.float64], end: NDArray[np.float64], regions: NDArray[np.float64]) -> float:
    """The part of the speech, 0..1, that has a word within _REACH seconds; arguments as for uncovered_speech."""
    speech = float(np.diff(regions, axis=1).sum())
    return 1 - float(np.diff(uncovered_speech(start, end, regions), axis=1).sum()) / speech if speech else 1.0


def _is_too_fast(start: NDArray[np.float64]) -> bool:
    return len(start) >= _FEW and len(start) / max(start[-1] - start[0], 1.0) > _MOST_WORDS_A_SECOND


def _chosen(words: Hypothesis, chosen: NDArray[np.bool_]) -> Hypothesis:
    kept = [word for word, is_chosen in zip(words.words, chosen) if is_chosen]
    return Hypothesis(kept, words.start[chosen], words.end[chosen])


def _span(words: Hypothesis, recording: Recording) -> str:
    """Where the words lie, for a message."""
    late = int((words.start > recording.seconds).sum())
    text = f"lecture {recording.id}: its {len(words.words)} words with times lie between {words.start[0]:.10g} and "
    text += f"{words.end.max():.10g} s, and it lasts {recording.seconds:.1f} s"
    if late:
        return f"{text}: {late} of them start after its end"
    return (
        f"{text}: {len(words.words) / max(words.start[-1] - words.start[0], 1.0):.0f} a second, more than anyone says"
    )


def _refuse_unit(words: Hypothesis, recording: Recording) -> None:
    """Raise DataError if the times are in another unit than seconds, as far as length and speech show it."""
    likely: list[tuple[float, str]] = []
    for unit, per_second in UNITS.items():
        start, end = words.start / per_second, words.end / per_second
        if start[-1] > recording.seconds + _AFTER_END or _is_too_fast(start):
            continue
        value, noise = agreement(start, end, recording.regions, recording.seconds)
        if value >= _CLEAR * noise:
            likely.append((value, f"as {unit} they fit its speech; write seconds"))
        elif abs(np.log(end.max() / recording.regions[-1, 1])) < 0.1:
            likely.append((0.0, f"are they {unit}? Write seconds"))
    if likely:
        raise DataError(f"{_span(words, recording)}; {max(likely, key=lambda x: x[0])[1]}")


def _refuse_long_words(words: Hypothesis, recording: Recording) -> None:
    lengths = words.end - words.start
    num_long = int((lengths > _LONGEST_WORD).sum())
    if len(lengths) >= _FEW and num_long > _MOST_LONG * len(lengths):
        raise DataError(
            f"lecture {recording.id}: {num_long} of its {len(lengths)} words with times last more than "
            f"{_LONGEST_WORD:g} s, half of all more than {np.median(lengths):.1f} s; is the column of durations that "
            "of the ends?"
        )


def _refuse_misfits(fit: SpeechFit, num_words: int, recording: Recording) -> None:
    """Raise DataError if many words fit the speech at other times; warn of few, and of small offsets."""
    wrong = misplaced(fit)
    small = [m for m in fit.misfits if m not in wrong and m.largest_offset > _SMALL_OFFSET]
    of_whole = [m for m in wrong if m.num_words == num_words]
    parts = _joined([m for m in wrong if m.num_words < num_words])
    if of_whole or sum(m.num_words for m in parts) > _MOST_MISFITS * num_words:
        all_parts = [m for m in fit.misfits if m.num_words < num_words and m.largest_offset > _SMALL_OFFSET]
        description = _described(of_whole, all_parts, num_words) or _listed(parts)
        raise DataError(
            f"lecture {recording.id}: its words' times do not fit its speech: {description}; correct them, or "
            "give those of this recording"
        )
    for m in parts:
        logger.warning("lecture %s: %s, and lose their times", recording.id, _listed([m]))
    if small:
        logger.warning("lecture %s: %s; are all times a little off?", recording.id, _listed(small[:1]))


def _described(of_whole: Sequence[Misfit], parts: Sequence[Misfit], num_words: int) -> str:
    """How far all words are off, if it is a shift or a stretch; the parts show it better than the whole."""
    share = sum(m.num_words for m in parts) / num_words
    if len(parts) > 1 and share > _MOST_STRETCHED:
        middles, offsets = np.array([(m.begin + m.end) / 2 for m in parts]), np.array([m.offset for m in parts])
        slope, constant = np.polyfit(middles, offsets, 1)
        is_shift = abs(slope) * parts[-1].end < 2 * _SAME
        if np.abs(slope * middles + constant - offsets).max() < _SAME and (share > _MOST_SHIFTED or not is_shift):
            return _shift_or_stretch(1 + float(slope), float(constant), parts[-1].end)
    for m in of_whole:
        return _shift_or_stretch(m.scale, m.lag + m.begin * (1 - m.scale), m.end)
    return ""


def _shift_or_stretch(scale: float, shift: float, end: float) -> str:
    if abs(scale - 1) * end < 2 * _SAME:
        offset = shift + (scale - 1) * end / 2
        return f"they fit it {abs(offset):.1f} s {'earlier' if offset < 0 else 'later'}"
    moved = f" and moved by {shift:+.1f} s" if abs(shift) > 2 * _SAME else ""
    return f"they fit it multiplied by {scale:.4f}{moved}"


def _joined(parts: Sequence[Misfit]) -> list[Misfit]:
    """Neighbours with the same offset as one."""
    joined: list[Misfit] = []
    for m in parts:
        if joined and abs(joined[-1].offset - m.offset) < _SAME and m.begin - joined[-1].end < _LONGEST_WORD:
            before = joined.pop()
            m = Misfit(before.begin, m.end, 1.0, m.offset, before.num_words + m.num_words)
        joined.append(m)
    return joined


def _listed(parts: Sequence[Misfit]) -> str:
    described = [
        f"words from {m.begin:.0f} to {m.end:.0f} s fit the speech {abs(m.offset):.1f} s "
        + ("earlier" if m.offset < 0 else "later")
        for m in parts[:3]
    ]
    return "; ".join(described) + (f"; and {len(parts) - 3} more parts" if len(parts) > 3 else "")


def _check_agreement(fit: SpeechFit, words: Hypothesis, recording: Recording) -> None:
    """Refuse times that have nothing to do with the speech."""
    silent = share_in_speech(words.start, words.end, recording.regions, NEAR_SPEECH) == 0
    if len(silent) >= _FEW and silent.mean() > _MOST_SILENT:
        raise DataError(
            f"lecture {recording.id}: {int(silent.sum())} of its {len(silent)} words with times are where nobody "
            "speaks; are they of this recording?"
        )
    steps = np.quantile(np.diff(words.start), [0.05, 0.95]) if len(silent) >= _MANY else np.array([0.0, 1.0])
    if steps[1] < _EVEN * steps[0]:
        raise DataError(
            f"lecture {recording.id}: its {len(silent)} words are spread evenly, one each {steps[1]:.2f} s, so their "
            "times were not measured; align it with a model instead"
        )
    values = f"agreement {fit.agreement:.2f}; chance alone gives up to {3 * fit.noise:.2f}, exact times about 0.9"
    length = words.start[-1] - words.start[0]
    if length >= _LONG and fit.noise < _LITTLE_NOISE and fit.agreement < _NO_AGREEMENT * fit.noise:
        raise DataError(
            f"lecture {recording.id}: its words' times do not follow the pauses of its speech ({values}); are they of "
            "this recording, and not spread evenly?"
        )
    if fit.noise < 1.5 * _LITTLE_NOISE and fit.agreement < _DOUBTFUL * fit.noise:
        logger.warning("lecture %s: its words' times hardly follow the pauses of its speech (%s)", recording.id, values)


def _warn_of_gaps(words: Hypothesis, recording: Recording) -> None:
    covered = part_covered(words.start, words.end, recording.regions)
    if covered < _LEAST_COVERED:
        gaps = uncovered_speech(words.start, words.end, recording.regions)
        place = np.searchsorted(words.start, gaps[:, 0])
        joined = np.append(True, place[1:] != place[:-1])  # where a word is between one part and the next
        starts, ends = gaps[joined, 0], gaps[np.append(joined[1:], True), 1]
        longest = int(np.argmax(ends - starts))
        logger.warning(
            "lecture %s: its words with times cover %.0f%% of its speech, %.1f-%.1f s; from %.1f to %.1f s there is "
            "speech without any: was the recogniser stopped early?",
            recording.id,
            100 * covered,
            words.start[0],
            words.end.max(),
            starts[longest],
            ends[longest],
        )
