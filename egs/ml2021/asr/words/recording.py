"""Reads a recording of any length piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.gate import inspect_audio
from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.words.timed_word import NoSpeechError

_BLOCK = 30 * SAMPLE_RATE  # samples read at a time to detect speech


@contextmanager
def open_recording(audio: Path) -> Iterator[sf.SoundFile]:
    """A recording of 16 kHz, mono, with sound in it.

    Raises:
      DataError: it cannot be read, is not 16 kHz mono (audio.convert.as_16k_mono makes it so), or is damaged.
      NoSpeechError: it is silent.
    """
    if not audio.is_file():
        raise DataError(f"no such recording: {audio}")
    try:
        with sf.SoundFile(str(audio)) as f:
            if f.samplerate != SAMPLE_RATE or f.channels != 1 or f.frames == 0:
                raise DataError(
                    f"{audio}: {f.samplerate} Hz, {f.channels} channels, {f.frames} samples; expected {SAMPLE_RATE} "
                    "Hz, mono, not empty (stage 0 and ml2021.st.transcribe convert recordings)"
                )
            inspect_audio(audio, AudioLimits())
            yield f
    except AudioError as e:
        if e.check == "silent":
            raise NoSpeechError(
                f"{audio}: no speech was detected in it: {e.message.replace(f'{audio} ', 'it ')}"
            ) from e
        raise
    except sf.LibsndfileError as e:
        raise DataError(f"{audio} cannot be read as audio ({e})") from e


def blocks_of(f: sf.SoundFile) -> Iterator[NDArray[np.float32]]:
    """All samples in blocks of half a minute."""
    for begin in range(0, f.frames, _BLOCK):
        yield samples_of(f, begin, min(begin + _BLOCK, f.frames))


def samples_of(f: sf.SoundFile, begin: int, end: int) -> NDArray[np.float32]:
    """Samples begin to end.

    Raises:
      DataError: the file ends before.
    """
    f.seek(begin)
    samples: NDArray[np.float32] = f.read(end - begin, dtype="float32")
    if len(samples) != end - begin:
        raise DataError(f"{f.name} ends before sample {end} of the {f.frames} that its header declares: copy it again")
    return samples
