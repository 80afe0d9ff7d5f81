"""Where a recording of any length has speech, by silero-vad, without holding the recording in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
STEP = 512  # samples that the network takes at a time
_SPEECH, _SILENCE = 0.5, 0.35  # probabilities at which speech begins, below which it may end
_PAD = 480  # samples added on both sides of a stretch
_MIN_SPEECH = 1600  # samples; shorter stretches are noise


def speech_stretches(blocks: Iterable[NDArray[np.float32]], min_pause: float = 0.15) -> NDArray[np.int64]:
    """Stretches of speech, as lhotse_prep.bootstrap.speech_regions finds them in the whole recording.

    Args:
      blocks: the recording's samples in order, 16 kHz, in [-1, 1], in pieces of any length.
      min_pause: seconds; shorter pauses do not end a stretch.
    Returns:
      (R, 2) begin and end in samples, ascending, disjoint; R may be 0.
    """
    num_samples = 0
    stretches: list[list[int]] = []
    begin = pause = -1  # samples; where the present stretch began, where it may have ended
    for probability in _probabilities(blocks):
        here, num_samples = num_samples, num_samples + STEP
        if probability >= _SPEECH:
            begin, pause = (here, -1) if begin < 0 else (begin, -1)
        elif probability < _SILENCE and begin >= 0:
            pause = here if pause < 0 else pause
            if here - pause >= min_pause * SAMPLE_RATE:
                stretches.append([begin, pause])
                begin = pause = -1
    if begin >= 0:
        stretches.append([begin, num_samples])
    return _padded([s for s in stretches if s[1] - s[0] >= _MIN_SPEECH], num_samples)


def _probabilities(blocks: Iterable[NDArray[np.float32]]) -> Iterator[float]:
    """Of speech, for each STEP samples; the last step is filled with zeros."""
    threads = torch.get_num_threads()
    from silero_vad import load_silero_vad

    try:
        model = load_silero_vad(onnx=True)
    finally:
        torch.set_num_threads(threads)  # importing and loading silero-vad sets one for the whole process
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        samples = np.concatenate([rest, block])
        whole = len(samples) // STEP * STEP
        for step in torch.from_numpy(samples[:whole]).split(STEP):
            yield float(model(step, SAMPLE_RATE))
        rest = samples[whole:]
    if len(rest):
        yield float(model(torch.from_numpy(np.pad(rest, (0, STEP - len(rest)))), SAMPLE_RATE))


def _padded(stretches: list[list[int]], num_samples: int) -> NDArray[np.int64]:
    """Each a little longer on both sides; neighbours meet in the middle of a pause that is too short for that."""
    padded = np.array(stretches, dtype=np.int64).reshape(-1, 2)
    gaps = padded[1:, 0] - padded[:-1, 1]
    before, after = np.minimum(_PAD, gaps // 2), np.minimum(_PAD, gaps - gaps // 2)
    padded[1:, 0] -= before
    padded[:-1, 1] += after
    if len(padded):
        padded[0, 0] = max(0, padded[0, 0] - _PAD)
        padded[-1, 1] = min(num_samples, padded[-1, 1] + _PAD)
    return padded
