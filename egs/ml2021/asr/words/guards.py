"""Guards against what recognisers of windows are known to do wrong, Whisper above all; what they find is counted.

They write the same words again and again, text where nobody speaks, more text than the speech can hold, and times
outside the window. Real repetitions, such as 對 對 對, stay.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.text.normalize import normalize_transcript
from ml2021.asr.words.order import times_in_order
from ml2021.asr.words.timed_word import TimedWord

logger = logging.getLogger(__name__)
_SLACK = 1.0  # seconds that times of words may be off
_MOST_RATE = 9.0  # syllables a second of speech
_LEAST_RATE = 1.5  # syllables a second of speech; fewer do not account for it
_SPARE = 6.0  # syllables more in a part of a window, whose times may be wrong
_SPARE_OF_WINDOW = 3.0  # syllables more in a whole window
_LONGEST_PART = 40  # words that may be repeated as one
_LEAST_REPEATS, _LEAST_WORDS = 3, 6  # of a loop, if the time cannot hold it
_MOST_REPEATS, _MOST_WORDS = 10, 30  # more than both of these is a loop whatever the time is
_TOLERANCE = 0.05  # seconds outside the window that are not counted
_SYLLABLE = re.compile(r"[aeiouy]+|\d")


@dataclass
class Findings:
    """Words that were left out, or whose times were moved, in a recording."""

    repeated: int = 0
    in_silence: int = 0
    too_many: int = 0
    moved: int = 0

    def log(self, name: str) -> None:
        """One line, if anything was found."""
        texts = (
            "%d words left out that repeat what was before",
            "%d words left out where nobody speaks",
            "%d words left out, more than the speech can hold",
            "times of %d words outside their window moved into it",
        )
        if parts := [text % count for text, count in zip(texts, astuple(self)) if count]:
            logger.info("%s: %s", name, "; ".join(parts))


def guarded(
    words: Sequence[TimedWord], duration: float, speech: NDArray[np.float64], findings: Findings
) -> list[TimedWord]:
    """The words of a window that can be true, normalised.

    Args:
      words: of a recogniser; times in seconds from the window's first sample.
      duration: of the window, in seconds.
      speech: (R, 2) stretches of speech in the window, in seconds.
      findings: what is found is added to it.
    """
    words = times_in_order(inside(normalised(words), duration, findings), duration, shortest=0.0)
    kept = without_loops(words, duration, speech)
    findings.repeated += len(words) - len(kept)
    spoken = [w for w in kept if _speech_between(speech, w.start - _SLACK, w.end + _SLACK) > 0]
    findings.in_silence += len(kept) - len(spoken)
    result = without_excess(spoken, duration, speech)
    findings.too_many += len(spoken) - len(result)
    return result


def normalised(words: Sequence[TimedWord]) -> list[TimedWord]:
    """Words as in transcripts: lower case, no marks, Han characters one by one; words of a piece share its time."""
    units: list[TimedWord] = []
    for word in words:
        texts = normalize_transcript(word.text).split()
        if texts == [word.text]:
            units.append(word)
            continue
        edges = np.linspace(word.start, word.end, len(texts) + 1).tolist()
        units += [replace(word, text=t, start=a, end=b) for t, a, b in zip(texts, edges, edges[1:])]
    return units


def inside(words: Sequence[TimedWord], duration: float, findings: Findings) -> list[TimedWord]:
    """Words with times in the window and scores from 0 to 1; a time that is no number is that of the word before."""
    result: list[TimedWord] = []
    for word in words:
        before = result[-1].end if result else 0.0
        start = word.start if math.isfinite(word.start) else before
        end = word.end if math.isfinite(word.end) else start
        moved_start = min(max(start, 0.0), duration)
        moved_end = min(max(end, moved_start), duration)
        is_moved = max(abs(moved_start - start), abs(moved_end - max(end, start))) > _TOLERANCE
        findings.moved += is_moved or not (math.isfinite(word.start) and math.isfinite(word.end))
        score = min(max(word.score, 0.0), 1.0) if math.isfinite(word.score) else 0.0
        if (moved_start, moved_end, score) != (word.start, word.end, word.score):
            word = replace(word, start=moved_start, end=moved_end, score=score)
        result.append(word)
    return result


def without_loops(words: Sequence[TimedWord], duration: float, speech: NDArray[np.float64]) -> list[TimedWord]:
    """Words, of a part that is repeated far more often than the time can hold the first occurrence only."""
    texts = [w.text for w in words]
    kept: list[TimedWord] = []
    i = 0
    while i < len(texts):
        length, end = _repeats(texts, i)
        if end - i > length:
            before = kept[-1].end if kept else 0.0
            after = words[end].start if end < len(words) else duration
            seconds = _speech_between(speech, before - _SLACK / 2, after + _SLACK / 2)
            num_syllables = sum(map(num_syllables_of, texts[i:end]))
            if num_syllables <= _MOST_RATE * seconds + _SPARE_OF_WINDOW and not _is_endless(end - i, length):
                length = 1  # it may be said
                end = i + 1
        kept += words[i : i + length]
        i = end
    return kept


def _repeats(texts: Sequence[str], i: int) -> tuple[int, int]:
    """The length of the shortest part at i that is repeated often, and where that ends; (1, i + 1) without one."""
    for length in range(1, min(_LONGEST_PART, (len(texts) - i) // _LEAST_REPEATS) + 1):
        end = i + length
        while end < len(texts) and texts[end] == texts[end - length]:
            end += 1
        if (end - i) // length >= _LEAST_REPEATS and end - i >= _LEAST_WORDS:
            return length, end if end == len(texts) else i + (end - i) // length * length
    return 1, i + 1


def _is_endless(num_words: int, length: int) -> bool:
    return num_words // length > _MOST_REPEATS and num_words > _MOST_WORDS


def without_excess(words: Sequence[TimedWord], duration: float, speech: NDArray[np.float64]) -> list[TimedWord]:
    """Words without those that are too many: all of them, or a part, whose time is that between its neighbours.

    Where the other words are too few for the speech, not the words are wrong but their times: they are spread anew.
    """
    seconds = _speech_between(speech, 0.0, duration)
    fits = sum(num_syllables_of(w.text) for w in words) <= _MOST_RATE * seconds + _SPARE_OF_WINDOW
    if not fits and seconds < _SLACK:
        return []
    words = list(words)
    while len(words) > 1:
        counts = np.cumsum([0, *(num_syllables_of(w.text) for w in words)])
        starts = np.array([w.start for w in words[1:]] + [duration]) + _SLACK / 2
        ends = np.array([0.0] + [w.end for w in words[:-1]]) - _SLACK / 2
        upto = counts[1:] - _MOST_RATE * _speech_until(speech, starts)  # of part i to j: upto[j] - before[i]
        before = counts[:-1] - _MOST_RATE * _speech_until(speech, ends)
        least = np.minimum.accumulate(before)
        j = int(np.argmax(upto - least))
        if upto[j] - least[j] <= _SPARE:
            break
        i = int(np.argmin(before[: j + 1]))
        if fits and counts[-1] - (counts[j + 1] - counts[i]) < _LEAST_RATE * seconds:
            return _spread(words, counts, speech)
        del words[i : j + 1]
    return words


def _spread(words: Sequence[TimedWord], counts: NDArray[np.int64], speech: NDArray[np.float64]) -> list[TimedWord]:
    """Words with the times that they have if all syllables take equally long; counts[i] are those before word i."""
    lengths = np.concatenate([[0.0], np.cumsum(speech[:, 1] - speech[:, 0])])
    at = counts / counts[-1] * lengths[-1]  # seconds of speech before each word
    stretch = np.clip(np.searchsorted(lengths, at, side="right") - 1, 0, len(speech) - 1)
    starts = (speech[stretch, 0] + at - lengths[stretch]).tolist()
    ends = [min(end, float(speech[k, 1])) for k, end in zip(stretch[:-1], starts[1:])]
    return [replace(w, start=start, end=max(start, end)) for w, start, end in zip(words, starts, ends)]


def num_syllables_of(word: str) -> int:
    """Roughly, and rather too few than too many: one for a Han character, groups of vowels and digits for the rest."""
    return max(1, len(_SYLLABLE.findall(word)))


def _speech_until(speech: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds of speech before each time."""
    lengths = np.clip(times[:, None] - speech[None, :, 0], 0.0, speech[:, 1] - speech[:, 0])
    total: NDArray[np.float64] = lengths.sum(axis=1)
    return total


def _speech_between(speech: NDArray[np.float64], begin: float, end: float) -> float:
    return float(np.clip(np.minimum(speech[:, 1], end) - np.maximum(speech[:, 0], begin), 0.0, None).sum())
