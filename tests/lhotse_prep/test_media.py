"""Sound of many kinds of file, as the recogniser wants it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.errors import DataError
from lhotse_prep.media import as_wav, audio_blocks, read_audio

SECONDS = 2.0


def tone(rate: int, channels: int = 1, hertz: float = 440.0) -> np.ndarray:
    """(n, channels), a tone of half the full scale; the channels are alike."""
    time = np.arange(int(SECONDS * rate)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * hertz * time)[:, None], channels, axis=1).astype(np.float32)


def write_with_av(path: Path, codec: str, rate: int, channels: int) -> None:
    samples = tone(rate, channels)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="stereo" if channels == 2 else "mono")
        resampler = av.AudioResampler(format=stream.format.name, layout=stream.layout.name, rate=rate, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), "flt", stream.layout.name)
        frame.rate = rate
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


@pytest.fixture(params=["wav 16000 1", "wav 44100 2", "flac 48000 1", "mp3 44100 2", "mp4 48000 2"])
def recording(request, tmp_path: Path) -> Path:
    kind, rate, channels = request.param.split()
    path = tmp_path / f"lecture.{kind}"
    if kind in ("wav", "flac"):
        sf.write(str(path), tone(int(rate), int(channels)), int(rate))
    else:
        write_with_av(path, {"mp3": "mp3", "mp4": "aac"}[kind], int(rate), int(channels))
    return path


def test_any_file_is_16_khz_mono_with_its_tone_and_its_length(recording: Path) -> None:
    samples = read_audio(recording)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) / 16000 == pytest.approx(SECONDS, abs=0.1)  # coders add some padding
    middle = samples[8000:24000]
    assert np.abs(np.fft.rfft(middle)).argmax() == pytest.approx(440, abs=1)  # one bin a hertz
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=0.1)
    assert max(len(b) for b in audio_blocks(recording)) < 16000


def test_a_copy_is_made_only_where_it_must_be(recording: Path, tmp_path: Path) -> None:
    wav = as_wav(recording, tmp_path / "work")
    ready = sf.info(str(recording)).samplerate == 16000 if recording.suffix == ".wav" else False
    assert (wav == recording) == ready
    samples, rate = sf.read(str(wav), dtype="float32")
    assert rate == 16000 and np.abs(samples - read_audio(recording)).max() < 1e-4


@pytest.mark.parametrize(
    "content, message",
    [(b"", "cannot be read as audio"), (b"no sound" * 400, "cannot be read as audio"), (None, "no such")],
)
def test_what_is_no_recording_is_said(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_audio(path)


def test_a_film_without_sound_is_said(tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="no sound track"):
        read_audio(path)
