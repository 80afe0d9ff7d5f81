"""Recordings of any kind -> 16 kHz mono WAV or FLAC on disk, a minute at a time; and what is wrong with a recording.

WAV and FLAC are read by libsndfile; everything else (mp3, m4a, the sound of an mp4) by PyAV, whose wheel has FFmpeg.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import logging
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.errors import DataError
from lhotse_prep.source_config import CheckConfig

logger = logging.getLogger(__name__)
SAMPLE_RATE = 16_000
READ_AS_IS = (".wav", ".flac")
SUFFIXES = (*READ_AS_IS, ".mp3", ".m4a", ".mp4")
_BLOCK = 1 << 20  # samples
_FULL_SCALE = 0.98
_FLAT = 3  # samples in a row of one value at full scale: clipped
_DECLARED_TOLERANCE = 1.0  # seconds, of compressed audio, whose headers are not exact


class AudioError(DataError):
    """A recording that cannot be used: `check` is the name of the finding, `message` value and limit."""

    def __init__(self, check: str, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.check, self.message, self.remedy = check, message, remedy

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str, str]]:
        return AudioError, (self.check, self.message, self.remedy)


@dataclass(frozen=True)
class AudioReport:
    """What a recording holds, from reading all of it."""

    num_samples: int
    sampling_rate: int
    digest: str  # of the decoded samples, whatever they are stored as
    peak: float  # of full scale
    clipped: float  # part of the samples that lie flat at full scale


def store_audio(audio: Path, folder: Path, name: str, limits: CheckConfig) -> Path:
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
    logger.info("%s: %d Hz, %d channels, %s converted to 16 kHz mono FLAC",
                name, info.samplerate, info.channels, info.format)  # fmt: skip
    return _write_flac(_resampled(audio, info.samplerate), folder / f"{name}.flac")


def as_16k_mono(audio: Path, folder: Path, limits: CheckConfig) -> Path:
    """The recording itself where it is 16 kHz mono WAV or FLAC, else such a copy in a folder; raises as store_audio."""
    info = _header(audio)
    if info is None or info.samplerate != SAMPLE_RATE or info.channels != 1:
        return store_audio(audio, folder, audio.stem, limits)
    check_header(audio, limits)
    return audio


def check_header(path: Path, limits: CheckConfig) -> Any:
    """What the header of a WAV or FLAC file says, held against the file and the limits.

    Raises:
      AudioError: unreadable, a header without samples, a WAV cut short, a duration beyond max_hours.
    """
    try:
        info = sf.info(str(path))
    except (sf.LibsndfileError, TypeError) as e:
        raise _unreadable(path, e) from e
    declared = _wav_frames(path) if info.format in ("WAV", "WAVEX") else None
    frames = max(info.frames, declared or 0)
    hours = frames / info.samplerate / 3600
    if hours > limits.max_hours:
        raise _too_long(path, f"its header declares {hours:.1f} h")
    if declared is not None and declared > info.frames:
        raise AudioError(
            "cut-short", f"{path} has {info.frames} samples, its header says {declared}",
            "it was cut short: restore it, or rewrite it with its true length",
        )  # fmt: skip
    if info.frames == 0:
        raise AudioError("no-samples", f"{path} holds no samples, only a header", "restore it or leave it out")
    return info


def declared_seconds(audio: Path | BinaryIO) -> float | None:
    """How long a recording of any kind is by its header; None where it has none, or cannot be read."""
    try:
        info = sf.info(str(audio) if isinstance(audio, Path) else audio)
        return float(info.frames / info.samplerate)
    except sf.LibsndfileError:
        pass
    import av

    try:
        if not isinstance(audio, Path):
            audio.seek(0)
        with av.open(str(audio) if isinstance(audio, Path) else audio) as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError:
        return None


def inspect_audio(path: Path, limits: CheckConfig) -> AudioReport:
    """Read a WAV or FLAC file to its end, a minute in memory at a time.

    Raises:
      AudioError: as check_header, and for damage, samples that are not numbers, and silence.
    """
    info = check_header(path, limits)
    digest = hashlib.sha256()
    num_samples, peak, clipped = 0, 0.0, 0
    try:
        for block in sf.blocks(str(path), _BLOCK, dtype="float32", always_2d=True):
            if not np.isfinite(block).all():
                at = (num_samples + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])) / info.samplerate
                raise AudioError(
                    "not-a-number", f"{path} has samples that are not numbers, first at {at:.2f} s",
                    "make the file again from its source",
                )  # fmt: skip
            digest.update(block.tobytes())
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
            clipped += num_clipped(block[:, 0])
            num_samples += len(block)
    except sf.LibsndfileError as e:
        raise AudioError(
            "damaged", f"{path} is damaged after {num_samples / info.samplerate:.2f} s ({e})", "restore the file"
        ) from e
    if num_samples != info.frames:
        raise AudioError(
            "cut-short", f"{path} has {num_samples} samples, its header says {info.frames}",
            "it was cut short: restore it, or rewrite it with its true length",
        )  # fmt: skip
    if peak < limits.min_peak:
        raise AudioError(
            "silent",
            f"{path} is silent from beginning to end (peak {peak:g}, limit {limits.min_peak:g} of full scale)",
            "record it again or leave it out",
        )  # fmt: skip
    return AudioReport(num_samples, info.samplerate, digest.hexdigest(), peak, clipped / num_samples)


def num_clipped(samples: NDArray[np.float32]) -> int:
    """Samples of (T,) in runs of at least three equal ones near full scale."""
    flat = (samples[1:] == samples[:-1]) & (np.abs(samples[1:]) >= _FULL_SCALE)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.view(np.int8), [0]])))
    runs = edges[1::2] - edges[::2] + 1
    return int(runs[runs >= _FLAT].sum())


def _header(path: Path) -> Any:
    """What libsndfile says of a WAV or FLAC file; None of any other."""
    try:
        info = sf.info(str(path))
    except (sf.LibsndfileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    return info if info.format in ("WAV", "FLAC", "WAVEX") else None


def _wav_frames(path: Path) -> int | None:
    """Samples a channel that the data chunk of a WAV file declares; None where it leaves its size open."""
    with open(path, "rb") as f:
        head = f.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return None  # RF64 and the like
        block_align = 0
        while len(chunk := f.read(8)) == 8:
            name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
            if name == b"fmt ":
                content = f.read(size + size % 2)
                block_align = int.from_bytes(content[12:14], "little") if len(content) >= 14 else 0
            elif name == b"data":
                is_open = size in (0, 0xFFFFFFFF, 0x7FFFFFFF)  # written to a pipe
                return None if is_open or not block_align else size // block_align
            else:
                f.seek(size + size % 2, 1)
    return None


def _unreadable(path: Path, e: Exception) -> AudioError:
    reason = " ".join(str(e).split())
    return AudioError("unreadable", f"{path} cannot be read as audio ({reason})", "restore it, or convert it to WAV")


def _too_long(path: Path, what: str) -> AudioError:
    return AudioError(
        "too-long", f"{path}: {what}, more than max_hours allows",
        "its header is wrong, or cut the recording into lectures (checks.max_hours of prep.yaml is the limit)",
    )  # fmt: skip


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
        raise _unreadable(audio, e) from e


def _decoded(audio: Path, limits: CheckConfig) -> Iterator[NDArray[np.float32]]:
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
                raise _too_long(audio, f"its header declares {declared / 3600:.1f} h")
            logger.info("%s: %s Hz, %s channels, %s converted to 16 kHz mono FLAC",
                        audio.name, stream.rate, stream.channels, stream.codec_context.name)  # fmt: skip
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)  # channels stay: it would mix them louder
            for frame in itertools.chain(container.decode(stream), [None]):  # None: what the resampler has left
                for piece in resampler.resample(frame):
                    samples = piece.to_ndarray().mean(axis=0)
                    num_samples += len(samples)
                    if num_samples > limits.max_hours * 3600 * SAMPLE_RATE:
                        raise _too_long(audio, f"it decodes to more than {num_samples / SAMPLE_RATE / 3600:.1f} h")
                    yield samples
    except av.FFmpegError as e:
        raise _unreadable(audio, e) from e
    if num_samples == 0:
        raise AudioError("no-samples", f"{audio} holds no samples, only a header", "restore it or leave it out")
    if num_samples / SAMPLE_RATE < 0.98 * declared - _DECLARED_TOLERANCE:
        raise AudioError(
            "cut-short", f"{audio} decodes to {num_samples / SAMPLE_RATE:.2f} s, its header says {declared:.2f} s",
            "it was cut short: restore it, or rewrite it with its true length",
        )  # fmt: skip
