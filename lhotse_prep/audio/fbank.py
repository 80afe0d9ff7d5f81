"""80-bin log-mel features by Lhotse's Fbank, with Kaldi's settings, which sherpa-onnx uses too."""

from __future__ import annotations

import numpy as np
from lhotse import Fbank, FbankConfig
from numpy.typing import NDArray

from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE


def fbank_extractor() -> Fbank:
    """80 bins from 20 Hz to 400 Hz below Nyquist, without dither, with centred frames (snip_edges off)."""
    return Fbank(FbankConfig(num_mel_bins=80, dither=0.0, snip_edges=False, low_freq=20.0, high_freq=-400.0))


def fbank(samples: NDArray[np.float32], extractor: Fbank | None = None) -> NDArray[np.float32]:
    """The features of a recording, computed a minute at a time to save memory.

    Args:
      samples: (num_samples,), 16 kHz, in [-1, 1].
      extractor: fbank_extractor(), if the caller has one.
    Returns:
      (num_frames, 80), a frame every FRAME_SHIFT samples.
    """
    extractor = extractor or fbank_extractor()
    minute = 60 * SAMPLE_RATE
    margin = 10 * FRAME_SHIFT  # context on both sides, so that frames at a seam are those of the whole
    parts = []
    for begin in range(0, max(len(samples), 1), minute):
        end = min(begin + minute, len(samples))
        left, right = min(margin, begin), min(margin, len(samples) - end)
        part = np.asarray(extractor.extract(samples[begin - left : end + right], SAMPLE_RATE))
        first = left // FRAME_SHIFT
        count = (end - begin) // FRAME_SHIFT if right else len(part) - first
        parts.append(part[first : first + count])
    return np.concatenate(parts)
