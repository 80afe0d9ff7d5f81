"""80-bin log-mel features, by Lhotse's Fbank with Kaldi's settings that sherpa-onnx shares."""

from __future__ import annotations

import numpy as np
from lhotse import Fbank, FbankConfig
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE

FRAME_SHIFT = 160  # samples


def fbank_extractor() -> Fbank:
    """No dither, frames centred (snip_edges off), 20 Hz to 400 Hz below Nyquist."""
    return Fbank(FbankConfig(num_mel_bins=80, dither=0.0, snip_edges=False, low_freq=20.0, high_freq=-400.0))


def fbank(samples: NDArray[np.float32], extractor: Fbank | None = None) -> NDArray[np.float32]:
    """(num_samples,) in [-1, 1] -> (num_frames, 80); a long recording is done in pieces of whole minutes."""
    extractor = extractor or fbank_extractor()
    piece = 60 * SAMPLE_RATE
    margin = 10 * FRAME_SHIFT  # so that frames at a seam see the samples of both sides
    parts = []
    for begin in range(0, max(len(samples), 1), piece):
        end = min(begin + piece, len(samples))
        left, right = min(margin, begin), min(margin, len(samples) - end)
        part = np.asarray(extractor.extract(samples[begin - left : end + right], SAMPLE_RATE))
        first = left // FRAME_SHIFT
        count = (end - begin) // FRAME_SHIFT if right else len(part) - first
        parts.append(part[first : first + count])
    return np.concatenate(parts)
