"""Stores what has passed the gate as 16 kHz mono WAV or FLAC files."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.gate import Survey, samples_of, survey
from lhotse_prep.audio.inspect import SAMPLE_RATE

logger = logging.getLogger(__name__)

READ_AS_IS = (".wav", ".flac")
SUFFIXES = (
    *READ_AS_IS,
    *(".mp3", ".m4a", ".mp4", ".aac", ".ogg", ".opus", ".webm", ".mkv", ".mov", ".wma", ".aif", ".aiff", ".caf"),
)


def store_audio(audio: Path, folder: Path, name: str, limits: AudioLimits) -> Path:
    """Write a recording as NAME.wav or NAME.flac, 16 kHz mono: a copy if it is that already, else converted and logged.

    Returns:
      The path of the new file.
    Raises:
      AudioError: the recording cannot be used (see gate.survey).
      OSError: the disk is full.
    """
    result = survey(audio, limits)
    if not result.is_ready:
        return _converted(result, folder / f"{name}.flac", name, limits)
    path = folder / f"{name}.{'flac' if result.track.codec == 'flac' else 'wav'}"
    if audio != path:
        shutil.copyfile(audio, path)
    return path


def as_16k_mono(audio: Path, folder: Path, limits: AudioLimits) -> Path:
    """The recording's own path if it is 16 kHz mono 16-bit WAV or FLAC, else that of a converted copy in `folder`.

    Raises:
      AudioError: the recording cannot be used (see gate.survey); the message names it, never the copy.
      OSError: the disk is full.
    """
    result = survey(audio, limits)
    return audio if result.is_ready else _converted(result, folder / f"{audio.stem}.flac", audio.name, limits)


def _converted(recording: Survey, path: Path, name: str, limits: AudioLimits) -> Path:
    notes = "".join(f"; {note}" for note in recording.notes)
    logger.info("%s: %s converted to 16 kHz mono FLAC%s", name, recording.form, notes)
    return _write_flac(samples_of(recording, limits), path)


def _write_flac(blocks: Iterable[NDArray[np.float32]], path: Path) -> Path:
    """Write (T,) blocks of 16 kHz samples to a FLAC file, renamed when complete; raises OSError if the disk is full."""
    temporary = path.with_name(f".{path.name}.tmp.flac")
    num_samples = 0
    temporary.touch()  # if this cannot be written, it says why, which libsndfile does not
    try:
        with sf.SoundFile(str(temporary), "w", SAMPLE_RATE, 1, format="FLAC", subtype="PCM_16") as out:
            for block in blocks:
                out.write(block)
                num_samples += len(block)
        if sf.info(str(temporary)).frames != num_samples:  # libsndfile does not report a lost end
            raise _disk_full(path)
        temporary.replace(path)
    except sf.LibsndfileError as e:
        raise _disk_full(path) from e
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _disk_full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
