"""Finds speech in recordings of any length with silero-vad, without keeping the recording in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.errors import DataError

HANGOVER = 0.1  # seconds that a stretch lasts after its speech: its padding, and the time to notice silence (median)
STEP = 512  # samples per step of the network
_BEFORE = 64  # samples before a step that the network sees again
_STATE = 128  # size of its state
_loaded = threading.local()


def speech_stretches(blocks: Iterable[NDArray[np.float32]], min_pause: float = 0.15) -> NDArray[np.int64]:
    """Stretches of speech, extended by 30 ms on both sides.

    Args:
      blocks: the recording's samples in order, 16 kHz, in [-1, 1], in blocks of any length.
      min_pause: seconds; shorter pauses do not end a stretch.
    Returns:
      (R, 2) begin and end in samples, sorted and disjoint; R may be 0.
    """
    network = _network()
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    num_samples = 0
    probabilities = []
    state, rate = np.zeros((2, 1, _STATE), np.float32), np.array(SAMPLE_RATE)
    window = np.zeros((1, _BEFORE + STEP), np.float32)
    for samples in _steps(blocks):
        num_samples += len(samples)
        window[0, :_BEFORE] = window[0, STEP:]
        window[0, _BEFORE : _BEFORE + len(samples)] = samples
        window[0, _BEFORE + len(samples) :] = 0.0
        probability, state = network.run(None, {"input": window, "state": state, "sr": rate})
        probabilities.append(float(probability[0, 0]))
    stamps = get_speech_timestamps_from_probs(
        probabilities,
        sampling_rate=SAMPLE_RATE,
        min_silence_duration_ms=int(1000 * min_pause),
        min_speech_duration_ms=100,
        speech_pad_ms=30,
        audio_length_samples=num_samples,
    )
    return np.array([[s["start"], s["end"]] for s in stamps], dtype=np.int64).reshape(-1, 2)


def speech_regions(samples: NDArray[np.float32], lecture: str) -> NDArray[np.int64]:
    """speech_stretches of a lecture in memory; raises DataError with the lecture's id if it has no speech."""
    regions = speech_stretches([samples])
    if not len(regions):
        raise DataError(f"lecture {lecture}: no speech was detected; is it the right recording, and not silent?")
    return regions


def _network() -> Any:
    """The session of silero-vad's network, loaded once by each thread.

    It is run without silero-vad's wrapper, whose conversions take as long as the network.
    """
    if not hasattr(_loaded, "network"):
        import torch

        threads = torch.get_num_threads()
        try:
            from silero_vad import load_silero_vad

            _loaded.network = load_silero_vad(onnx=True).session
        finally:
            torch.set_num_threads(threads)  # silero-vad sets one thread for the whole process
    return _loaded.network


def _steps(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The samples in steps of STEP; the last one may be shorter."""
    rest = np.zeros(0, dtype=np.float32)
    for block in blocks:
        samples = np.concatenate([rest, block])
        whole = len(samples) // STEP * STEP
        yield from samples[:whole].reshape(-1, STEP)
        rest = samples[whole:]
    if len(rest):
        yield rest
