"""The times of a subtitle file, moved or stretched as a whole to where they fit the speech.

Subtitles of another cut of a film start later or earlier, and those made for 25 frames a second drift at 23.976.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.hypotheses import Hypothesis
from lhotse_prep.alignment.speech_fit import speech_fit

logger = logging.getLogger(__name__)
_LEAST_MOVED = 0.3  # seconds; less is within the precision of hints


def moved_to_speech(lecture: str, hints: Hypothesis, regions: NDArray[np.float64], duration: float) -> Hypothesis:
    """The hints as they fit the speech best, unchanged if they fit it where they are, or nowhere.

    Args:
      lecture: its name.
      hints: words with times.
      regions: (R, 2) stretches of speech in seconds, ascending, disjoint.
      duration: of the recording in seconds.
    """
    fit = speech_fit(hints.start, hints.end, regions, duration)
    of_all = [m for m in fit.misfits if m.num_words == len(hints.words)]
    if not of_all or of_all[0].largest_offset < _LEAST_MOVED:
        return hints
    scale, shift = of_all[0].scale, of_all[0].lag + of_all[0].begin * (1 - of_all[0].scale)
    logger.info(
        "%s: the times of its text fit the speech multiplied by %.4f and moved by %+.2f s", lecture, scale, shift
    )
    start, end = (np.clip(scale * x + shift, 0.0, duration) for x in (hints.start, hints.end))
    return Hypothesis(hints.words, np.maximum.accumulate(start), np.maximum(start, end))
