"""Checks a recording: its header against its file, and all its samples."""

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

_BLOCK = 1 << 20  # samples read at a time
_FULL_SCALE = 0.98
_MIN_CLIPPED_RUN = 3  # equal samples in a row near full scale that count as clipped


class AudioError(DataError):
    """A recording that cannot be used: the name of the failed check, a message with value and limit, what to do."""

    def __init__(self, check: str, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.check, self.message, self.remedy = check, message, remedy

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str, str]]:
        return AudioError, (self.check, self.message, self.remedy)


@dataclass(frozen=True)
class AudioReport:
    """What a complete read of a recording gives."""

    num_samples: int
    sampling_rate: int
    digest: str  # of the decoded samples, the same for WAV and FLAC
    peak: float  # largest absolute sample; full scale is 1
    clipped: float  # share of clipped samples


def check_header(path: Path, limits: AudioLimits) -> Any:
    """The header of a WAV or FLAC file (soundfile's info), checked against the file and the limits.

    Raises:
      AudioError: the file is unreadable, has no samples, is a truncated WAV, or is longer than max_hours.
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
    """The duration in a recording's header, whatever its format; None if it has none or cannot be read."""
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
    """Read all samples of a WAV or FLAC file, 2^20 at a time.

    Raises:
      AudioError: as check_header; the file is damaged, has samples that are not numbers, or is silent.
    """
    info = check_header(path, limits)
    digest = hashlib.sha256()
    num_samples, peak, clipped = 0, 0.0, 0
    try:
        for block in sf.blocks(str(path), _BLOCK, dtype="float32", always_2d=True):
            if not np.isfinite(block).all():
                seconds = (num_samples + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])) / info.samplerate
                raise AudioError(
                    "not-a-number",
                    f"{path} has samples that are not numbers, first at {seconds:.2f} s",
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
    """The number of samples of (T,) that are in runs of at least three equal samples near full scale."""
    flat = (samples[1:] == samples[:-1]) & (np.abs(samples[1:]) >= _FULL_SCALE)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.view(np.int8), [0]])))
    runs = edges[1::2] - edges[::2] + 1
    return int(runs[runs >= _MIN_CLIPPED_RUN].sum())


def _wav_frames(path: Path) -> int | None:
    """Samples per channel that the data chunk of a WAV file declares; None if it leaves the size open."""
    with open(path, "rb") as f:
        head = f.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return None  # RF64 or similar
        block_align = 0
        while len(chunk := f.read(8)) == 8:
            name, size = chunk[:4], int.from_bytes(chunk[4:], "little")
            if name == b"fmt ":
                content = f.read(size + size % 2)
                block_align = int.from_bytes(content[12:14], "little") if len(content) >= 14 else 0
            elif name == b"data":
                is_open = size in (0, 0xFFFFFFFF, 0x7FFFFFFF)  # as written to a pipe
                return None if is_open or not block_align else size // block_align
            else:
                f.seek(size + size % 2, 1)
    return None


def unreadable(path: Path, e: Exception) -> AudioError:
    """The error for a file that a library cannot read as audio."""
    reason = " ".join(str(e).split())
    return AudioError("unreadable", f"{path} cannot be read as audio ({reason})", "restore it, or convert it to WAV")


def too_long(path: Path, what: str) -> AudioError:
    """The error for a recording that is longer than max_hours; `what` says how long."""
    return AudioError(
        "too-long",
        f"{path}: {what}, more than max_hours allows",
        "its header is wrong, or cut the recording into lectures (checks.max_hours of prep.yaml is the limit)",
    )
