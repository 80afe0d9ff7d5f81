"""Converts recordings to 16 kHz mono WAV or FLAC files, a minute at a time.

libsndfile reads WAV and FLAC; PyAV, whose wheel contains FFmpeg, reads everything else (mp3, m4a, the audio of an mp4).
"""

from __future__ import annotations

import errno
import itertools
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError, check_header, too_long, unreadable

logger = logging.getLogger(__name__)

READ_AS_IS = (".wav", ".flac")
SUFFIXES = (*READ_AS_IS, ".mp3", ".m4a", ".mp4")
_DECLARED_TOLERANCE = 1.0  # seconds; headers of compressed audio are not exact


def store_audio(audio: Path, folder: Path, name: str, limits: AudioLimits) -> Path:
    """Write a recording as NAME.wav or NAME.flac, 16 kHz mono: a copy if it is that already, else converted and logged.

    Returns:
      The path of the new file.
    Raises:
      AudioError: the recording is unreadable, has no samples, is shorter than its header says or longer than max_hours.
      OSError: the disk is full.
    """
    if audio.stat().st_size == 0:
        raise AudioError("no-samples", f"{audio} is empty (0 bytes)", "restore it or leave it out")
    info = _header(audio)
    if info is None:
        return _write_flac(_decoded(audio, limits), folder / f"{name}.flac")
    check_header(audio, limits)
    if info.samplerate == SAMPLE_RATE and info.channels == 1:
        path = folder / f"{name}.{'flac' if info.format == 'FLAC' else 'wav'}"
        if audio != path:
            shutil.copyfile(audio, path)
        return path
    logger.info(
        "%s: %d Hz, %d channels, %s converted to 16 kHz mono FLAC", name, info.samplerate, info.channels, info.format
    )
    return _write_flac(_resampled(audio, info.samplerate), folder / f"{name}.flac")


def as_16k_mono(audio: Path, folder: Path, limits: AudioLimits) -> Path:
    """The recording's own path if it is 16 kHz mono WAV or FLAC, else of a converted copy; errors as store_audio."""
    info = _header(audio)
    if info is None or info.samplerate != SAMPLE_RATE or info.channels != 1:
        return store_audio(audio, folder, audio.stem, limits)
    check_header(audio, limits)
    return audio


def _header(path: Path) -> Any:
    """The header of a WAV or FLAC file, read by libsndfile; None for any other file."""
    try:
        info = sf.info(str(path))
    except (sf.LibsndfileError, TypeError):  # TypeError: the name ends in .raw
        return None
    return info if info.format in ("WAV", "FLAC", "WAVEX") else None


def _write_flac(blocks: Iterable[NDArray[np.float32]], path: Path) -> Path:
    """Write (T,) blocks of 16 kHz samples to a FLAC file, renamed when complete; raises OSError if the disk is full."""
    temporary = path.with_name(f".{path.name}.tmp.flac")
    num_samples = 0
    temporary.touch()  # if this cannot be written, it says why, which libsndfile does not
    try:
        with sf.SoundFile(str(temporary), "w", SAMPLE_RATE, 1, format="FLAC", subtype="PCM_16") as out:
            for block in blocks:
                out.write(np.clip(block, -1.0, 1.0))
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


def _resampled(audio: Path, rate: int) -> Iterator[NDArray[np.float32]]:
    """Mono samples at 16 kHz, a minute at a time, resampled with a second of context so that seams do not click."""
    import torch
    from torchaudio.functional import resample

    minute, second = 60 * rate, rate  # whole seconds are whole samples at both rates
    try:
        with sf.SoundFile(str(audio)) as source:
            for begin in range(0, source.frames, minute):
                left = min(second, begin)
                source.seek(begin - left)
                samples = source.read(left + minute + second, dtype="float32", always_2d=True).mean(axis=1)
                piece = resample(torch.from_numpy(samples), rate, SAMPLE_RATE).numpy()
                first = left * SAMPLE_RATE // rate
                count = math.ceil(min(minute, source.frames - begin) * SAMPLE_RATE / rate)
                yield piece[first : first + count]
    except sf.LibsndfileError as e:
        raise unreadable(audio, e) from e


def _decoded(audio: Path, limits: AudioLimits) -> Iterator[NDArray[np.float32]]:
    """Mono samples at 16 kHz of the first audio stream, frame by frame, decoded and resampled by FFmpeg."""
    import av

    num_samples = 0
    try:
        with av.open(str(audio)) as container:
            if not container.streams.audio:
                raise AudioError("unreadable", f"{audio} has no audio stream", "give a file with audio")
            stream = container.streams.audio[0]
            declared = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
            if declared > limits.max_hours * 3600:
                raise too_long(audio, f"its header declares {declared / 3600:.1f} h")
            logger.info(
                "%s: %s Hz, %s channels, %s converted to 16 kHz mono FLAC",
                audio.name,
                stream.rate,
                stream.channels,
                stream.codec_context.name,
            )
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # without mixing, which would be louder
            for frame in itertools.chain(container.decode(stream), [None]):  # None: flush the resampler
                for piece in resampler.resample(frame):
                    samples = piece.to_ndarray().mean(axis=0)
                    num_samples += len(samples)
                    if num_samples > limits.max_hours * 3600 * SAMPLE_RATE:
                        raise too_long(audio, f"it decodes to more than {num_samples / SAMPLE_RATE / 3600:.1f} h")
                    yield samples
    except av.FFmpegError as e:
        raise unreadable(audio, e) from e
    if num_samples == 0:
        raise AudioError("no-samples", f"{audio} holds no samples, only a header", "restore it or leave it out")
    if num_samples / SAMPLE_RATE < 0.98 * declared - _DECLARED_TOLERANCE:
        raise AudioError(
            "cut-short",
            f"{audio} decodes to {num_samples / SAMPLE_RATE:.2f} s, its header says {declared:.2f} s",
            "it was cut short: restore it, or rewrite it with its true length",
        )
