"""Features computed in pieces are those that Lhotse computes of the whole recording."""

from __future__ import annotations

import numpy as np
import pytest

from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.fbank import fbank, fbank_extractor
from lhotse_prep.audio.inspect import SAMPLE_RATE


@pytest.mark.parametrize("seconds", [0.05, 3.0, 60.0, 60.005, 121.3])
def test_pieces_equal_the_whole(seconds: float) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * SAMPLE_RATE)).astype(np.float32)
    whole = np.asarray(fbank_extractor().extract(samples, SAMPLE_RATE))
    pieces = fbank(samples)
    assert pieces.shape == whole.shape == ((len(samples) + FRAME_SHIFT // 2) // FRAME_SHIFT, 80)
    assert np.abs(pieces - whole).max() < 1e-3
