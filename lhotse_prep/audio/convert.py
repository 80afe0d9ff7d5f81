"""Recordings of any kind -> 16 kHz mono WAV or FLAC on disk, a minute at a time.

WAV and FLAC are read by libsndfile; everything else (mp3, m4a, the sound of an mp4) by PyAV, whose wheel has FFmpeg.
"""

from __future__ import annotations

import errno
import itertools
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
from lhotse_prep.audio.inspect import SAMPLE_RATE, AudioError, check_header, logger, too_long, unreadable

READ_AS_IS = (".wav", ".flac")

SUFFIXES = (*READ_AS_IS, ".mp3", ".m4a", ".mp4")

_DECLARED_TOLERANCE = 1.0  # seconds, of compressed audio, whose headers are not exact


def store_audio(audio: Path, folder: Path, name: str, limits: AudioLimits) -> Path:
    """Write NAME.wav or NAME.flac, 16 kHz mono: a copy where the recording is that already, else converted, and logged.

    Raises:
      AudioError: it cannot be read, holds no samples, is shorter than its header says or longer than max_hours.
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
    """The recording itself where it is 16 kHz mono WAV or FLAC, else such a copy in a folder; raises as store_audio."""
    info = _header(audio)
    if info is None or info.samplerate != SAMPLE_RATE or info.channels != 1:
        return store_audio(audio, folder, audio.stem, limits)
    check_header(audio, limits)
    return audio


def _header(path: Path) -> Any:
    """What libsndfile says of a WAV or FLAC file; None of any other."""
    try:
        info = sf.info(str(path))
    except (sf.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    return info if info.format in ("WAV", "FLAC", "WAVEX") else None


def _write_flac(blocks: Iterable[NDArray[np.float32]], path: Path) -> Path:
    """Write (T,) pieces of 16 kHz sound as FLAC, which appears once it is whole; a full disk is an OSError."""
    temporary = path.with_name(f".{path.name}.tmp.flac")
    num_samples = 0
    temporary.touch()  # says why where this cannot be written; libsndfile does not
    try:
        with sf.SoundFile(str(temporary), "w", SAMPLE_RATE, 1, format="FLAC", subtype="PCM_16") as out:
            for block in blocks:
                out.write(np.clip(block, -1.0, 1.0))
                num_samples += len(block)
        if sf.info(str(temporary)).frames != num_samples:  # libsndfile does not tell when it cannot write the end
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
    """Mixed to mono and resampled, a minute at a time with a second on both sides, so that seams are not heard."""
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
    """The first audio stream by FFmpeg, resampled by its libswresample and mixed to mono, frame after frame."""
    import av

    num_samples = 0
    try:
        with av.open(str(audio)) as container:
            if not container.streams.audio:
                raise AudioError("unreadable", f"{audio} has no audio stream", "give a file with sound")
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
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # channels stay: it would mix them louder
            for frame in itertools.chain(container.decode(stream), [None]):  # None: what the resampler has left
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
