"""Recordings of any format become 16 kHz mono; errors have the value and the limit."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from lhotse_prep.audio.convert import as_16k_mono, store_audio
from lhotse_prep.audio.gate import declared_seconds, inspect_audio
from lhotse_prep.audio.inspect import AudioError, num_clipped
from lhotse_prep.corpora.source.config import CheckConfig
from lhotse_prep.corpora.tables.find_tables import find_tables
from lhotse_prep.corpora.tables.rows import typical_seconds

RATE = 16_000
LIMITS = CheckConfig()


def tone(seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def encode(path: Path, codec: str, rate: int, seconds: float, with_video: bool = False) -> Path:
    """Write a stereo file like those of a recorder or, with video, of a camera."""
    with av.open(str(path), "w") as container:
        if with_video:
            video = container.add_stream("mpeg4", rate=5)
            video.width = video.height = 32
        stream = container.add_stream(codec, rate=rate, layout="stereo")
        if with_video:
            for _ in range(5):
                container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")))
            container.mux(video.encode(None))
        samples = np.stack([tone(seconds, rate)] * 2)
        for begin in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, begin : begin + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = rate, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.mp3", "libmp3lame", 44_100), ("a.m4a", "aac", 48_000), ("a.mp4", "aac", 44_100), ("a.flac", "flac", 48_000)],
)
def test_formats_of_recorders_are_converted_with_one_log_line(
    tmp_path: Path, name: str, codec: str, rate: int, caplog: pytest.LogCaptureFixture
) -> None:
    if codec == "flac":
        sf.write(tmp_path / name, np.stack([tone(3, rate)] * 2, axis=1), rate)
    else:
        encode(tmp_path / name, codec, rate, 3, with_video=name.endswith("mp4"))
    (tmp_path / "out").mkdir()
    with caplog.at_level(logging.INFO):
        path = store_audio(tmp_path / name, tmp_path / "out", "x", LIMITS)
    samples, out_rate = sf.read(path, dtype="float32")
    assert path.name == "x.flac" and out_rate == RATE and samples.ndim == 1
    assert len(samples) / RATE == pytest.approx(3, abs=0.06)
    inner = samples[RATE:-RATE]
    shift = max(range(40), key=lambda i: float(inner @ tone(4)[i : i + len(inner)]))  # encoders add a delay
    assert np.abs(inner - tone(4)[shift : shift + len(inner)]).max() < 0.06
    assert len([m for m in caplog.messages if f"{rate} Hz, 2 channels" in m and "converted to 16 kHz mono" in m]) == 1
    assert list((tmp_path / "out").iterdir()) == [path]


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.mp4", "aac")])
def test_the_typical_length_of_a_tables_rows_is_known_for_every_format(tmp_path: Path, name: str, codec: str) -> None:
    path = encode(tmp_path / name, codec, 48_000, 7)
    assert declared_seconds(path) == pytest.approx(7, abs=0.1)
    row = {"audio": {"bytes": path.read_bytes(), "path": name}, "transcription": "a", "translation": "b", "file": name}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "train.parquet")
    assert typical_seconds(find_tables(tmp_path)) == pytest.approx(7, abs=0.1)


def test_a_file_that_is_not_audio_has_no_declared_length(tmp_path: Path) -> None:
    assert declared_seconds(unreadable(tmp_path / "a.wav")) is None


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioError, match=r"a\.wav is empty \(0 bytes\)"):
        store_audio(tmp_path / "a.wav", tmp_path, "x", LIMITS)


def test_an_unwritable_folder_is_not_reported_as_a_full_disk(tmp_path: Path) -> None:
    sf.write(tmp_path / "fast.wav", tone(1, 44_100), 44_100)
    with pytest.raises(NotADirectoryError):
        store_audio(tmp_path / "fast.wav", tmp_path / "fast.wav", "x", LIMITS)


def test_samples_without_a_header_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(tone(1).tobytes())
    with pytest.raises(AudioError, match=r"a\.raw "):
        as_16k_mono(tmp_path / "a.raw", tmp_path, LIMITS)


def test_a_copy_is_made_only_if_needed(tmp_path: Path) -> None:
    sf.write(tmp_path / "ready.wav", tone(1), RATE)
    sf.write(tmp_path / "fast.wav", tone(1, 44_100), 44_100)
    assert as_16k_mono(tmp_path / "ready.wav", tmp_path / "none", LIMITS) == tmp_path / "ready.wav"
    copy = as_16k_mono(tmp_path / "fast.wav", tmp_path, LIMITS)
    assert copy == tmp_path / "fast.flac" and sf.info(str(copy)).samplerate == RATE


def test_a_video_without_audio_is_an_error(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio stream"):
        store_audio(tmp_path / "x.mp4", tmp_path, "y", LIMITS)
    assert not (tmp_path / "y.flac").exists()


def write_wav(path: Path, declared_bytes: int, samples: np.ndarray) -> Path:
    data = (samples * 32767).astype("<i2").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    riff = b"RIFF" + struct.pack("<I", min(36 + declared_bytes, 0xFFFFFFFF)) + b"WAVE"
    path.write_bytes(riff + fmt + struct.pack("<4sI", b"data", declared_bytes) + data)
    return path


def cut_short_wav(path: Path) -> Path:
    return write_wav(path, 64_000, tone(1))


def header_only(path: Path) -> Path:
    return write_wav(path, 0, tone(0))


def declares_hours(path: Path) -> Path:
    return write_wav(path, 4_000_000_000, tone(1))


def unreadable(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 20)
    return path


def cut_short_flac(path: Path) -> Path:
    sf.write(path.with_suffix(".flac"), np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE)
    content = path.with_suffix(".flac").read_bytes()
    path.with_suffix(".flac").write_bytes(content[: len(content) // 2])
    return path.with_suffix(".flac")


def not_a_number(path: Path) -> Path:
    samples = tone(2)
    samples[RATE] = np.inf
    sf.write(path, samples, RATE, subtype="FLOAT")
    return path


def silent(path: Path) -> Path:
    sf.write(path, np.zeros(RATE), RATE)
    return path


@pytest.mark.parametrize(
    ("make", "check", "message"),
    [
        (cut_short_wav, "cut-short", "has 16000 samples, its header says 32000; it was cut short: restore it"),
        (header_only, "no-samples", "holds no samples, only a header; restore it or leave it out"),
        (declares_hours, "too-long", "its header declares 34.7 h, more than max_hours allows; its header is wrong"),
        (unreadable, "unreadable", "cannot be read as audio"),
        (cut_short_flac, "damaged|cut-short", "is damaged after|has [0-9]+ samples, its header says 160000"),
        (not_a_number, "not-a-number", "samples that are not numbers, first at 1.00 s; make the file again"),
        (silent, "silent", r"silent from beginning to end \(peak 0, limit 0.0001 of full scale\); record it again"),
    ],
)
def test_a_bad_recording_is_described(tmp_path: Path, make, check: str, message: str) -> None:  # noqa: ANN001
    path = make(tmp_path / "bad.wav")
    with pytest.raises(AudioError, match=message) as error:
        inspect_audio(path, LIMITS)
    assert error.value.check in check.split("|") and str(path) in str(error.value)


@pytest.mark.parametrize("make", [cut_short_wav, header_only, declares_hours, unreadable])
def test_a_bad_header_is_detected_before_anything_is_copied(tmp_path: Path, make) -> None:  # noqa: ANN001
    path = make(tmp_path / "bad.wav")
    (tmp_path / "out").mkdir()
    with pytest.raises(AudioError):
        store_audio(path, tmp_path / "out", "x", LIMITS)
    assert not list((tmp_path / "out").iterdir())


def test_decoding_stops_at_the_limit_of_the_duration(tmp_path: Path) -> None:
    encode(tmp_path / "a.mp3", "libmp3lame", 44_100, 4)
    (tmp_path / "out").mkdir()
    with pytest.raises(AudioError, match="a.mp3: (its header declares|it decodes to more than)") as error:
        store_audio(tmp_path / "a.mp3", tmp_path / "out", "x", CheckConfig(max_hours=2 / 3600))
    assert error.value.check == "too-long" and not list((tmp_path / "out").iterdir())
    encode(tmp_path / "b.m4a", "aac", 44_100, 4)
    content = (tmp_path / "b.m4a").read_bytes()
    (tmp_path / "b.m4a").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="b.m4a (cannot be read|decodes to)"):
        store_audio(tmp_path / "b.m4a", tmp_path / "out", "x", LIMITS)


def test_a_wav_written_to_a_pipe_is_good(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", 0xFFFFFFFF, tone(1))
    assert inspect_audio(path, LIMITS).num_samples == RATE and as_16k_mono(path, tmp_path, LIMITS) == path


def test_the_report_is_the_same_for_wav_and_flac(tmp_path: Path) -> None:
    samples = tone(1)
    samples[100:110] = 1.0
    sf.write(tmp_path / "a.wav", samples, RATE)
    sf.write(tmp_path / "a.flac", sf.read(tmp_path / "a.wav")[0], RATE)
    wav, flac = (inspect_audio(tmp_path / f"a.{s}", LIMITS) for s in ("wav", "flac"))
    assert wav == flac and wav.num_samples == RATE and wav.peak == pytest.approx(1, abs=1e-4)
    assert wav.clipped == 10 / RATE


@pytest.mark.parametrize(
    ("samples", "count"),
    [([0, 1, 1, 1, 0], 3), ([1, 1, 0, 1], 0), ([1] * 5, 5), ([-1, -1, -1, 1, 1, 1], 6), ([0.5] * 9, 0), ([], 0)],
)
def test_clipped_samples(samples: list[float], count: int) -> None:
    assert num_clipped(np.array(samples, np.float32)) == count
