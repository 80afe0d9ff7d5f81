"""Sound of any file that FFmpeg reads (wav, flac, mp3, mp4 ...) as 16 kHz mono, in blocks: memory stays constant."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.errors import DataError
from lhotse_prep.features import SAMPLE_RATE


def audio_blocks(path: Path) -> Iterator[NDArray[np.float32]]:
    """The first sound track, mixed to mono and resampled to SAMPLE_RATE, in pieces of a fraction of a second.

    Yields:
      (n,) samples, full scale at 1.
    Raises:
      DataError: no such file, no sound in it, or it cannot be decoded to its end.
    """
    import av

    if not path.is_file():
        raise DataError(f"no such recording: {path}")
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise DataError(f"{path} has no sound track; give a file that has one")
            resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
            for frame in container.decode(container.streams.audio[0]):
                yield from _samples(resampler.resample(frame))
            yield from _samples(resampler.resample(None))
    except (av.FFmpegError, ValueError) as e:
        raise DataError(f"{path} cannot be read as audio ({e}); convert it to wav and try again") from e


def read_audio(path: Path) -> NDArray[np.float32]:
    """The whole of `audio_blocks` as one array; raises as it does, and where there is no sample."""
    blocks = list(audio_blocks(path))
    if not blocks:
        raise DataError(f"{path} has a sound track without a sample in it")
    return np.concatenate(blocks)


def as_wav(path: Path, folder: Path) -> Path:
    """The path itself where it is 16 kHz mono wav or flac already; else such a copy, written to folder in blocks.

    Raises:
      DataError: as `audio_blocks`, and where there is no sample.
      OSError: the copy cannot be written.
    """
    if _is_ready(path):
        return path
    copy = folder / f"{path.stem}.16k.wav"
    folder.mkdir(parents=True, exist_ok=True)
    num_samples = 0
    with wave.open(str(copy), "wb") as f:  # a full disk is an OSError here, with soundfile it is not
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(SAMPLE_RATE)
        for block in audio_blocks(path):
            f.writeframes((np.clip(block, -1.0, 1.0) * 32767).round().astype("<i2").tobytes())
            num_samples += len(block)
    if not num_samples:
        raise DataError(f"{path} has a sound track without a sample in it")
    return copy


def _samples(frames: list[Any]) -> Iterator[NDArray[np.float32]]:
    for frame in frames:
        yield frame.to_ndarray().mean(axis=0, dtype=np.float32)  # (channels, n)


def _is_ready(path: Path) -> bool:
    if path.suffix.lower() not in (".wav", ".flac"):
        return False
    try:
        info = sf.info(str(path))
    except sf.LibsndfileError:
        return False
    return info.samplerate == SAMPLE_RATE and info.channels == 1 and info.frames > 0
