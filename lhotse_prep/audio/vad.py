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
_HOP, _SMOOTH = 160, 20  # samples, and hops over which levels are averaged
_SILENCE = 1e-12  # power; less counts as this
_DIGITAL_SILENCE = -90.0  # dB; what is quieter was not recorded, as where the sound was muted
_FLOOR = 0.02  # quantile of a recording's levels that is the background's
_ABOVE_FLOOR = 5.0  # dB; louder sound is the lecture's (90% of the levels of five voices were within 6)
_LEAST_CONTRAST = 10.0  # dB from the background to the median level; in speech without pauses, 5 to 9 as a rule
_LEAST_PAUSE, _LEAST_SPEECH = int(0.3 * SAMPLE_RATE), int(0.1 * SAMPLE_RATE)
_FALL = int(0.08 * SAMPLE_RATE)  # from speech to the background, so that HANGOVER holds
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
    """speech_stretches of a lecture in memory, without pauses in which only others are heard.

    Raises:
      DataError: there is no speech; the message has the lecture's id.
    """
    regions = speech_stretches([samples])
    if not len(regions):
        raise DataError(f"lecture {lecture}: no speech was detected; is it the right recording, and not silent?")
    return without_background(samples, regions)


def without_background(samples: NDArray[np.float32], regions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stretches of speech without those parts in which the sound is no louder than the background.

    The network takes voices in the background for speech. Where the lecture's level is well above that of the
    background, parts of at least 0.3 s at the background's level are pauses. (Five recordings in a room with other
    voices at 10 dB: of the time between utterances, 58 to 95% was in stretches of speech, and 13 to 45% is now. In
    quiet, nothing changes.)

    Args:
      samples: of a recording, 16 kHz.
      regions: (R, 2) stretches of speech in samples.
    Returns:
      (R', 2) as regions.
    """
    levels = _levels(samples)
    recorded = levels[levels > _DIGITAL_SILENCE]
    floor, usual = np.quantile(recorded, (_FLOOR, 0.5)) if len(recorded) else (0.0, 0.0)
    if usual - floor < _LEAST_CONTRAST:
        return regions
    is_low = np.concatenate([[False], levels < floor + _ABOVE_FLOOR, [False]])
    low = np.flatnonzero(np.diff(is_low)).reshape(-1, 2) * _HOP
    kept = []
    for begin, end in regions.tolist():
        first, last = np.searchsorted(low[:, 1], begin, side="right"), np.searchsorted(low[:, 0], end)
        for low_begin, low_end in low[first:last].tolist():
            pause_begin, pause_end = max(begin, low_begin), min(end, low_end)
            if pause_end - pause_begin >= _LEAST_PAUSE:
                kept.append((begin, min(pause_begin + _FALL, pause_end)))
                begin = pause_end
        kept.append((begin, end))
    spoken = np.array(kept, dtype=np.int64).reshape(-1, 2)
    spoken = spoken[spoken[:, 1] - spoken[:, 0] >= _LEAST_SPEECH]
    return spoken if len(spoken) else regions


def _levels(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Level in dB of each hop of 10 ms, averaged over 200 ms around it."""
    hops = samples[: len(samples) // _HOP * _HOP].reshape(-1, _HOP)
    total = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->i", hops, hops), dtype=np.float64)])
    begin = np.arange(len(hops)) - _SMOOTH // 2
    first, last = np.clip(begin, 0, len(hops)), np.clip(begin + _SMOOTH, 0, len(hops))
    power = (total[last] - total[first]) / ((last - first) * _HOP)
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, _SILENCE))
    return levels


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
