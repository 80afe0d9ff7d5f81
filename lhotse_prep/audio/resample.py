"""Resamples mono sound of any rate to 16 kHz as it passes, in constant memory, with FFmpeg's resampler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE


def resampled(blocks: Iterable[tuple[int, NDArray[np.float32]]]) -> Iterator[NDArray[np.float32]]:
    """Yield samples (T,) at 16 kHz.

    Args:
      blocks: (rate, samples (T,)); where the rate changes, a new resampler begins.
    """
    resampler = None
    current = SAMPLE_RATE
    for rate, samples in blocks:
        if rate != current:
            if resampler is not None:
                yield from resampler.flush()
            resampler = _Resampler(rate) if rate != SAMPLE_RATE else None
            current = rate
        if resampler is None:
            yield samples
        else:
            yield from resampler.push(samples)
    if resampler is not None:
        yield from resampler.flush()


class _Resampler:
    """From one rate to 16 kHz; all output together has the length of all input, rounded."""

    def __init__(self, rate: int) -> None:
        import av

        self._rate = rate
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        self._num_in = self._num_out = 0

    def push(self, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """The next samples."""
        import av

        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="flt", layout="mono")
        frame.sample_rate = self._rate
        self._num_in += len(samples)
        yield from self._taken(self._resampler.resample(frame))

    def flush(self) -> Iterator[NDArray[np.float32]]:
        """What is left when no more samples come."""
        yield from self._taken(self._resampler.resample(None))
        missing = round(self._num_in * SAMPLE_RATE / self._rate) - self._num_out
        if missing > 0:
            yield np.zeros(missing, np.float32)

    def _taken(self, frames: Iterable[Any]) -> Iterator[NDArray[np.float32]]:
        for frame in frames:
            samples: NDArray[np.float32] = frame.to_ndarray()[0]
            self._num_out += len(samples)
            yield samples
