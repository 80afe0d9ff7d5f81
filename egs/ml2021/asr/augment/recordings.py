"""Reads impulse responses and noises to augment with, and refuses those that would spoil or stop a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import CutSet, Recording, RecordingSet
from lhotse.cut import Cut
from lhotse.cut.data import DataCut
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.manifests.files import AUDIO, FEATS, load_safely
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.augment.config import NUM_MEL_BINS
from ml2021.asr.augment.sound import has_positive_peak

LONGEST_RIR = 20.0  # seconds; what is longer is no impulse response
_BLOCK = 60.0  # seconds of a noise that are checked at a time


def read_rirs(path: Path) -> list[Recording]:
    """Read and check impulse responses; those whose highest peak is negative are turned over.

    Args:
      path: a RecordingSet file of Lhotse.
    Raises:
      DataError: there is no such file, it is damaged or empty, or a recording is missing, cannot be read, has another
        sampling rate, several channels, samples that are not numbers, nothing but zeros, or over LONGEST_RIR seconds.
    """
    name = "sound_augment.rir_recordings"
    if not path.is_file():
        raise DataError(f"no {path}; {name} must name a RecordingSet file of Lhotse (.jsonl.gz), or be null")
    rirs = []
    for rir in load_safely(path, RecordingSet, AUDIO):
        where = f"impulse response {rir.id} of {path}"
        advice = f"; correct it, or take it out of the file of {name}"
        if rir.sampling_rate != SAMPLE_RATE:
            raise DataError(
                f"{where} has {rir.sampling_rate} Hz, not {SAMPLE_RATE}: resample it, as with sox or ffmpeg"
            )
        if rir.num_channels != 1:
            raise DataError(f"{where} has {rir.num_channels} channels, not 1: write one of them to a file of its own")
        if rir.duration > LONGEST_RIR:
            raise DataError(f"{where} has {rir.duration:.1f} s, over {LONGEST_RIR:g} s: is it one?{advice}")
        samples = _readable(rir.load_audio, where, advice)
        if not samples.any():
            raise DataError(f"{where} is silent{advice}")
        rirs.append(rir if has_positive_peak(samples) else rir.perturb_volume(-1.0))
    if not rirs:
        raise DataError(f"{path} has no recordings; {name} must name a RecordingSet file with some, or be null")
    return rirs


def read_noises(path: Path, needs: str) -> CutSet:
    """Read and check noises to mix in.

    Args:
      path: a CutSet file of Lhotse.
      needs: AUDIO or FEATS, what is read of them.
    Raises:
      DataError: there is no such file, it is damaged or has no cuts, or a cut lacks what is needed, cannot be read, has
        another sampling rate or number of mel bins, several channels, or values that are not numbers.
    """
    if not path.is_file():
        raise DataError(f"no noise {path}; noise_cuts must name a CutSet file of Lhotse (.jsonl.gz)")
    noises = load_safely(path, CutSet, needs)
    if not len(noises):
        raise DataError(f"{path} has no cuts; noise_cuts must name a CutSet file with noises, or be null")
    for cut in noises:
        where = f"noise {cut.id} of {path}"
        advice = "; correct it, or take it out of the file of noise_cuts"
        if needs == FEATS:
            if not cut.has_features:
                raise DataError(f"{where} has no features: compute them, or set data.on_the_fly_feats: true")
            if cut.num_features != NUM_MEL_BINS:
                raise DataError(f"{where} has features of {cut.num_features} mel bins, not {NUM_MEL_BINS}{advice}")
            _readable(cut.load_features, where, advice)
            continue
        if not cut.has_recording:
            raise DataError(f"{where} has no recording, and on_the_fly_feats needs one{advice}")
        if cut.sampling_rate != SAMPLE_RATE:
            raise DataError(
                f"{where} has {cut.sampling_rate} Hz, not {SAMPLE_RATE}: resample it, as with sox or ffmpeg"
            )
        if isinstance(cut, DataCut) and cut.num_channels != 1:
            raise DataError(f"{where} has {cut.num_channels} channels, not 1: make a MonoCut of one of them")
        for block in _blocks(cut):
            _readable(block.load_audio, where, advice)
    return noises


def _blocks(cut: Cut) -> Iterator[Cut]:
    """The cut in pieces of at most _BLOCK seconds."""
    for start in np.arange(0.0, cut.duration, _BLOCK).tolist():
        yield cut.truncate(offset=start, duration=min(_BLOCK, cut.duration - start))


def _readable(load: Callable[[], NDArray[Any]], where: str, advice: str) -> NDArray[Any]:
    """What is loaded; DataError if that fails, or there is nothing in it, or something that is no number."""
    try:
        values = load()
    except Exception as e:  # Lhotse's readers raise all kinds for damaged data
        reason = " ".join(str(e).split())[:300]
        raise DataError(f"{where} cannot be read ({type(e).__name__}: {reason}){advice}") from e
    if not values.size:
        raise DataError(f"{where} is empty{advice}")
    if not np.isfinite(values).all():
        raise DataError(f"{where} has values that are not numbers (NaN or infinite){advice}")
    return values
