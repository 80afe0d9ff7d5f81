"""Times for words that have none: over the speech of their window, or between their neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_stretches
from ml2021.asr.qwen.forced_aligner import WordTime
from ml2021.asr.words.spread import spread_words

_LEAST = 0.04  # seconds of a word between two others


def spread_over_speech(samples: NDArray[np.float32], words: Sequence[str]) -> list[tuple[float, float]]:
    """Starts and ends in seconds of words that fill the speech of a window; all of it if there is no speech.

    Args:
      samples: of the window.
      words: normalised.
    """
    duration = len(samples) / SAMPLE_RATE
    stretches = speech_stretches([samples]) / SAMPLE_RATE
    if not len(stretches):
        stretches = np.array([[0.0, duration]])
    return spread_words(words, np.clip(stretches, 0.0, duration))


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
