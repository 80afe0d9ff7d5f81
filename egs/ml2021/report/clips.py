"""Sound of the page: how loud a lecture is over time, and small MP3 clips of windows, as many as fit in a limit."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from lhotse import Recording

logger = logging.getLogger(__name__)
ENVELOPE_RATE = 50  # values a second
MP3_COMPRESSION = 0.8  # variable bit rate, about 4 kB a second of speech
BYTES_PER_SECOND = 6000  # of a clip in base64, about: what is surely beyond the limit is not even encoded
BLOCK_SECONDS = 60


@dataclass(frozen=True)
class Span:
    """A piece of a lecture that would be good to hear."""

    id: str
    audio: Path
    start: float  # seconds
    duration: float  # seconds


def audio_file(recording: Recording) -> Path | None:
    """The file of a recording; None where it is gone, or where the recording is no plain file (a command, an URL)."""
    sources = recording.sources
    path = Path(sources[0].source) if len(sources) == 1 and sources[0].type == "file" else None
    return path if path is not None and path.is_file() else None


def envelope(path: Path) -> tuple[str, float]:
    """Peaks of a file's first channel, ENVELOPE_RATE a second, as base64 of one byte each, and its seconds.

    255 is the loudest peak but for the loudest thousandth, so that one click does not flatten all speech.
    """
    with soundfile.SoundFile(str(path)) as f:
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


def make_clips(spans: Sequence[Span], max_bytes: int) -> dict[str, str]:
    """MP3 clips as base64, by id, in the order given until the next would pass the limit.

    Args:
      spans: the most worthwhile first.
      max_bytes: of all clips together, as they lie in the page.
    """
    clips: dict[str, str] = {}
    if "MP3" not in soundfile.available_formats():
        logger.warning("this libsndfile writes no MP3: the page has no sound")
        return clips
    left = max_bytes
    for span in spans:
        if span.duration * BYTES_PER_SECOND > 2 * left:
            break
        clip = base64.b64encode(_mp3(span)).decode()
        if len(clip) > left:
            break
        clips[span.id] = clip
        left -= len(clip)
    return clips


def _mp3(span: Span) -> bytes:
    with soundfile.SoundFile(str(span.audio)) as f:
        f.seek(min(f.frames, max(0, round(span.start * f.samplerate))))
        samples = f.read(round(span.duration * f.samplerate), dtype="float32", always_2d=True)[:, 0]
        buffer = io.BytesIO()
        soundfile.write(
            buffer, samples, f.samplerate, format="MP3", bitrate_mode="VARIABLE", compression_level=MP3_COMPRESSION
        )
    return buffer.getvalue()
