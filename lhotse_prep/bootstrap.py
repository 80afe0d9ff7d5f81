"""First times with no model: where speech is, and the text spread over it in proportion to its syllables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.errors import DataError
from lhotse_prep.pronounce import spoken_syllables

SAMPLE_RATE = 16_000


def speech_regions(samples: NDArray[np.float32], lecture: str, min_pause: float = 0.15) -> NDArray[np.int64]:
    """Stretches of speech by silero-vad.

    Args:
      samples: (num_samples,) at 16 kHz, in [-1, 1].
      lecture: named in errors.
      min_pause: seconds; shorter pauses do not end a stretch.
    Returns:
      (R, 2) begin and end in samples, ascending, disjoint.
    Raises:
      DataError: no speech is found.
    """
    import torch
    from silero_vad import get_speech_timestamps, load_silero_vad

    stamps = get_speech_timestamps(
        torch.from_numpy(samples), load_silero_vad(), sampling_rate=SAMPLE_RATE,
        min_silence_duration_ms=int(1000 * min_pause), min_speech_duration_ms=100, speech_pad_ms=30,
    )  # fmt: skip
    if not stamps:
        raise DataError(f"lecture {lecture}: no speech is heard in it; is it the right recording, and not silent?")
    return np.array([[s["start"], s["end"]] for s in stamps], dtype=np.int64)


def proportional_times(words: Sequence[str], regions: NDArray[np.int64]) -> NDArray[np.float64]:
    """The middle of each word, in samples, if all syllables of the lecture were equally long.

    Args:
      words: the transcript's space-separated units.
      regions: (R, 2) stretches of speech in samples.
    Returns:
      (len(words),) ascending.
    """
    syllables = np.array([spoken_syllables(w) for w in words])
    ends = np.cumsum(syllables)
    middles = (ends - syllables / 2) / ends[-1]  # as parts of all speech
    lengths = regions[:, 1] - regions[:, 0]
    spoken = np.concatenate([[0], np.cumsum(lengths)])
    position = middles * spoken[-1]
    region = np.clip(np.searchsorted(spoken, position, side="right") - 1, 0, len(lengths) - 1)
    return regions[region, 0] + position - spoken[region]


def group_regions(regions: NDArray[np.int64], max_samples: int) -> NDArray[np.int64]:
    """Join neighbouring stretches into windows of at most max_samples (one that is longer stays as it is)."""
    windows: list[list[int]] = []
    for begin, end in regions.tolist():
        if windows and end - windows[-1][0] <= max_samples:
            windows[-1][1] = end
        else:
            windows.append([begin, end])
    return np.array(windows, dtype=np.int64)
