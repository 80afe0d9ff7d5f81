"""Times for words that have none: over the speech of their window, or between their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_stretches
from lhotse_prep.text.characters import is_han
from ml2021.asr.qwen.forced_aligner import WordTime

SPREAD_SCORE = 0.1  # at most, of a word that is only spread
_LETTERS = 2.5  # of a word that take about as long as a Han character
_LEAST = 0.04  # seconds of a word between two others


def spread_over_speech(samples: NDArray[np.float32], words: Sequence[str]) -> list[tuple[float, float]]:
    """Starts and ends in seconds of words that fill the speech of a window, each for as long as it is written.

    Args:
      samples: of the window. Without speech, the words fill all of it.
      words: normalised.
    """
    stretches = speech_stretches([samples]) / SAMPLE_RATE
    if not len(stretches):
        stretches = np.array([[0.0, len(samples) / SAMPLE_RATE]])
    stretches = np.clip(stretches, 0.0, len(samples) / SAMPLE_RATE)
    lengths = [1.0 if is_han(word) else max(1.0, len(word) / _LETTERS) for word in words]
    spoken = np.append(0.0, np.cumsum(stretches[:, 1] - stretches[:, 0]))  # seconds of speech before each stretch
    edges = np.append(0.0, np.cumsum(lengths)) * spoken[-1] / max(sum(lengths), 1.0)
    first = np.clip(np.searchsorted(spoken, edges[:-1] + 1e-9, side="right") - 1, 0, len(stretches) - 1)
    last = np.clip(np.searchsorted(spoken, edges[1:] - 1e-9, side="right") - 1, 0, len(stretches) - 1)
    starts = stretches[first, 0] + edges[:-1] - spoken[first]
    ends = stretches[last, 0] + edges[1:] - spoken[last]
    ends = np.minimum(ends, stretches[last, 1])
    return list(zip(starts.tolist(), np.maximum(starts, ends).tolist()))


def fill_in(times: Sequence[WordTime | None], duration: float) -> list[WordTime]:
    """Put words without a time, such as `%`, between their neighbours; at least one word has a time.

    A word with a time gives up a part of it where there is too little room. What is filled in has a score of 0.

    Args:
      times: of the words of a window, in order.
      duration: of the window, seconds.
    """
    filled = list(times)
    timed = [i for i, t in enumerate(times) if t is not None]
    for before, after in zip([-1, *timed], [*timed, len(times)]):
        num_words = after - before - 1
        if not num_words:
            continue
        left, right = (filled[i] if 0 <= i < len(times) else None for i in (before, after))
        begin = left.end if left else 0.0
        end = right.start if right else duration
        if end - begin < _LEAST * num_words:
            if left:  # its second half
                begin = (left.start + left.end) / 2
                filled[before] = left._replace(end=begin)
            elif right:
                end = (right.start + right.end) / 2
                filled[after] = right._replace(start=end)
        edges = np.linspace(begin, max(begin, end), num_words + 1).tolist()
        for i, (start, stop) in enumerate(zip(edges, edges[1:]), before + 1):
            filled[i] = WordTime(start, stop, 0.0)
    return [time for time in filled if time is not None]
