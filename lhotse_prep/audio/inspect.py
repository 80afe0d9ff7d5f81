"""What is wrong with a recording: its header held against its file, and all its samples."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.errors import DataError

logger = logging.getLogger(__name__)

SAMPLE_RATE = 16_000

_BLOCK = 1 << 20  # samples

_FULL_SCALE = 0.98

_FLAT = 3  # samples in a row of one value at full scale: clipped


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


def check_header(path: Path, limits: AudioLimits) -> Any:
    """What the header of a WAV or FLAC file says, held against the file and the limits.

    Raises:
      AudioError: unreadable, a header without samples, a WAV cut short, a duration beyond max_hours.
    """
    try:
        info = sf.info(str(path))
    except (sf.LibsndfileError, TypeError) as e:
        raise unreadable(path, e) from e
    declared = _wav_frames(path) if info.format in ("WAV", "WAVEX") else None
    frames = max(info.frames, declared or 0)
    hours = frames / info.samplerate / 3600
    if hours > limits.max_hours:
        raise too_long(path, f"its header declares {hours:.1f} h")
    if declared is not None and declared > info.frames:
        raise AudioError(
            "cut-short",
            f"{path} has {info.frames} samples, its header says {declared}",
            "it was cut short: restore it, or rewrite it with its true length",
        )
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


def inspect_audio(path: Path, limits: AudioLimits) -> AudioReport:
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
                    "not-a-number",
                    f"{path} has samples that are not numbers, first at {at:.2f} s",
                    "make the file again from its source",
                )
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
            "cut-short",
            f"{path} has {num_samples} samples, its header says {info.frames}",
            "it was cut short: restore it, or rewrite it with its true length",
        )
    if peak < limits.min_peak:
        raise AudioError(
            "silent",
            f"{path} is silent from beginning to end (peak {peak:g}, limit {limits.min_peak:g} of full scale)",
            "record it again or leave it out",
        )
    return AudioReport(num_samples, info.samplerate, digest.hexdigest(), peak, clipped / num_samples)


def num_clipped(samples: NDArray[np.float32]) -> int:
    """Samples of (T,) in runs of at least three equal ones near full scale."""
    flat = (samples[1:] == samples[:-1]) & (np.abs(samples[1:]) >= _FULL_SCALE)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.view(np.int8), [0]])))
    runs = edges[1::2] - edges[::2] + 1
    return int(runs[runs >= _FLAT].sum())


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


def unreadable(path: Path, e: Exception) -> AudioError:
    reason = " ".join(str(e).split())
    return AudioError("unreadable", f"{path} cannot be read as audio ({reason})", "restore it, or convert it to WAV")


def too_long(path: Path, what: str) -> AudioError:
    return AudioError(
        "too-long",
        f"{path}: {what}, more than max_hours allows",
        "its header is wrong, or cut the recording into lectures (checks.max_hours of prep.yaml is the limit)",
    )
