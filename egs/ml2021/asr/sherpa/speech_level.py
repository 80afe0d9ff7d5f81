"""Where a window is loud: enough to tell speech from the pauses around it, at hardly any cost.

The windows come from a voice activity detector, so that what is loud in them is speech; to run the detector again would
take as long as to recognise with a small model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE

_FRAME = SAMPLE_RATE // 100  # samples
_SMOOTH = 5  # frames
_QUIET, _LOUD = 5, 90  # percentiles of the level
_DEPTH = 50.0  # dB under the loud level at which the quiet one is cut off: digital silence is no measure
_LEAST_RANGE = 12.0  # dB; a window of less is all speech, or all noise
_SHARE = 0.35  # of the way from the quiet to the loud level
_MIN_PAUSE = 15  # frames
_PAD = 3  # frames


def loud_regions(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Stretches of speech of a window, (R, 2) in seconds, ascending and disjoint; at least one.

    Args:
      samples: at 16 kHz, not empty.
    """
    num_frames = -(-len(samples) // _FRAME)
    whole = np.array([[0.0, len(samples) / SAMPLE_RATE]])
    padded = np.pad(samples.astype(np.float64), (0, num_frames * _FRAME - len(samples)))
    power = (padded.reshape(num_frames, _FRAME) ** 2).mean(axis=1)
    power = np.convolve(power, np.full(_SMOOTH, 1 / _SMOOTH), mode="same")[:num_frames]
    level = 10 * np.log10(power + 1e-12)
    loud = float(np.percentile(level, _LOUD))
    quiet = max(float(np.percentile(level, _QUIET)), loud - _DEPTH)
    if loud - quiet < _LEAST_RANGE:
        return whole
    is_loud = np.concatenate([[False], level > quiet + _SHARE * (loud - quiet), [False]])
    edges = np.flatnonzero(np.diff(is_loud.astype(np.int8))).reshape(-1, 2)
    regions: list[list[int]] = []
    for begin, end in edges.tolist():
        if regions and begin - regions[-1][1] < _MIN_PAUSE:
            regions[-1][1] = end
        else:
            regions.append([begin, end])
    seconds = np.array(regions, dtype=np.float64) + [-_PAD, _PAD]
    return np.clip(seconds * _FRAME / SAMPLE_RATE, 0.0, whole[0, 1])
