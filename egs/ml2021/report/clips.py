"""Audio for the page: the loudness of a lecture over time, and MP3 clips of as many windows as a size limit allows."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording

from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import share_of_cores

logger = logging.getLogger(__name__)
ENVELOPE_RATE = 50  # values per second
MP3_COMPRESSION = 0.8  # variable bit rate, about 4 kB per second of speech
BYTES_PER_SECOND = 6000  # rough size of a clip in base64, to avoid encoding clips that cannot fit
BLOCK_SECONDS = 60
_AT_ONCE = 32  # clips that are encoded before their sizes are looked at


@dataclass(frozen=True)
class Span:
    """A part of a lecture to make a clip of."""

    id: str
    audio: Path
    start: float  # seconds
    duration: float  # seconds


def audio_file(recording: Recording) -> Path | None:
    """The audio file of a recording; None if it is missing, or if the source is not a file (but a command or URL)."""
    sources = recording.sources
    path = Path(sources[0].source) if len(sources) == 1 and sources[0].type == "file" else None
    return path if path is not None and path.is_file() else None


def envelope(path: Path) -> tuple[str, float]:
    """Compute the peaks of a file's first channel.

    Peaks are scaled to their 99.9% quantile, so that a single click does not flatten all speech.

    Returns:
      ENVELOPE_RATE peaks per second, 0 to 255, one byte each in base64; and the duration in seconds.
    Raises:
      DataError: the file cannot be read.
    """
    with _opened(path) as f:
        width = max(1, f.samplerate // ENVELOPE_RATE)
        peaks = [
            np.maximum.reduceat(np.abs(block[:, 0]), np.arange(0, len(block), width))
            for block in f.blocks(width * ENVELOPE_RATE * BLOCK_SECONDS, dtype="float32", always_2d=True)
            if len(block)
        ]
        seconds = f.frames / f.samplerate
    values = np.concatenate(peaks) if peaks else np.zeros(0, np.float32)
    loud = float(np.quantile(values, 0.999)) if len(values) else 0.0
    scaled = np.clip(values / loud, 0, 1) if loud > 0 else np.zeros_like(values)
    return base64.b64encode((255 * scaled).astype(np.uint8).tobytes()).decode(), seconds


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """The file, which was checked when it was imported; raises DataError if it has been damaged since."""
    try:
        with soundfile.SoundFile(str(path)) as f:
            yield f
    except soundfile.LibsndfileError as e:
        raise DataError(f"{path} cannot be read as audio ({e}); restore it") from e


def make_clips(spans: Sequence[Span], max_bytes: int) -> dict[str, str]:
    """Encode clips as MP3 until the next one would exceed the limit.

    Args:
      spans: the most interesting first.
      max_bytes: limit on the total size of the clips in base64.
    Returns:
      {id: clip as base64}.
    """
    clips: dict[str, str] = {}
    if "MP3" not in soundfile.available_formats():
        logger.warning("this libsndfile cannot write MP3: the page will have no audio")
        return clips
    left = max_bytes

    def may_fit(span: Span) -> bool:
        return span.duration * BYTES_PER_SECOND <= 2 * left

    with ThreadPoolExecutor(share_of_cores(1)) as pool:
        for begin in range(0, len(spans), _AT_ONCE):
            some = list(takewhile(may_fit, spans[begin : begin + _AT_ONCE]))
            for span, mp3 in zip(some, pool.map(_mp3, some)):
                clip = base64.b64encode(mp3).decode()
                if not may_fit(span) or len(clip) > left:
                    return clips
                clips[span.id] = clip
                left -= len(clip)
            if len(some) < _AT_ONCE:
                break
    return clips


def _mp3(span: Span) -> bytes:
    with _opened(span.audio) as f:
        f.seek(min(f.frames, max(0, round(span.start * f.samplerate))))
        samples = f.read(round(span.duration * f.samplerate), dtype="float32", always_2d=True)[:, 0]
        buffer = io.BytesIO()
        soundfile.write(
            buffer, samples, f.samplerate, format="MP3", bitrate_mode="VARIABLE", compression_level=MP3_COMPRESSION
        )
    return buffer.getvalue()
