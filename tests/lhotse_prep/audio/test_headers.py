"""A header is believed only as far as the file agrees with it."""

from __future__ import annotations

import logging
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.convert import as_16k_mono
from lhotse_prep.audio.gate import declared_seconds, inspect_audio
from lhotse_prep.audio.inspect import AudioError

RATE = 16_000
LIMITS = AudioLimits()


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def wav(samples: np.ndarray, declared: int | None, after: bytes = b"", before: bytes = b"") -> bytes:
    data = (samples * 32767).astype("<i2").tobytes()
    fmt = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    body = b"WAVE" + before + fmt + chunk(b"data", data, declared) + after
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("declared", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFFFC4, 0xFFFFFFF0])
def test_a_length_that_is_left_open_means_the_end_of_the_file(sound, tmp_path: Path, declared: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(sound.talk(3), declared))
    assert np.abs(sound.passed(tmp_path / "a.wav") - sound.talk(3)).max() < 1e-4


@pytest.mark.parametrize("seed", range(20))
def test_a_header_is_believed_only_if_the_rest_of_the_file_agrees(sound, tmp_path: Path, seed: int, caplog) -> None:
    """Random true and wrong lengths, with and without chunks before and after the samples."""
    rng = random.Random(seed)
    samples = sound.talk(3)[: rng.randint(2 * RATE, 3 * RATE)]
    extra = chunk(b"LIST", b"INFOISFT" + bytes(rng.randint(1, 40)))
    after, before = rng.choice([(b"", b""), (extra, b""), (extra + extra, extra), (b"TAG" + bytes(125), b"")])
    true = 2 * len(samples)
    declared = rng.choice([None, rng.randrange(2, true - RATE // 2, 2), rng.randrange(true + 2000, 3 * true)])
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples, declared, after, before))
    if declared is None:
        assert len(sound.passed(path)) == len(samples) and as_16k_mono(path, tmp_path, LIMITS) == path
    elif declared > true:
        sound.refused(path, r"has [0-9]+ samples, its header says [0-9]+; it was cut short: restore it", "cut-short")
    else:
        with caplog.at_level(logging.INFO):
            result = sound.passed(path)
        assert np.abs(result[: len(samples)] - samples).max() < 1e-4 and len(result) - len(samples) < 0.01 * RATE
        assert "its header declares only a part" in caplog.text
        with pytest.raises(AudioError, match="declares less than the [0-9]+ samples that it holds; run stage 0"):
            inspect_audio(path, LIMITS)


def test_samples_in_two_chunks_are_refused(sound, tmp_path: Path) -> None:
    """FFmpeg reads the last one alone, libsndfile none."""
    more = (sound.talk(3)[RATE:] * 32767).astype("<i2").tobytes()
    (tmp_path / "a.wav").write_bytes(wav(sound.talk(3)[:RATE], None, chunk(b"LIST", bytes(5)) + chunk(b"data", more)))
    sound.refused(tmp_path / "a.wav", "its header contradicts itself: it has two chunks of samples", "unreadable")


@pytest.mark.parametrize("channels", [1, 2])
def test_integers_of_24_bits_in_32_are_no_floats(sound, tmp_path: Path, channels: int) -> None:
    """Recorders of Windows write such; FFmpeg takes them for floats."""
    samples = np.repeat((sound.talk(2) * 32767).astype("<i4")[:, None] << 16, channels, axis=1)
    guid = bytes.fromhex("0100000000001000800000aa00389b71")
    head = struct.pack("<HHIIHH", 0xFFFE, channels, RATE, 4 * channels * RATE, 4 * channels, 32)
    fmt = chunk(b"fmt ", head + struct.pack("<HHI", 22, 24, 2**channels - 1) + guid)
    body = b"WAVE" + fmt + chunk(b"data", samples.tobytes())
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    result = sound.passed(tmp_path / "a.wav")
    assert len(result) == 2 * RATE and np.abs(result - sound.talk(2)).max() < 1e-4


@pytest.mark.parametrize(
    ("form", "subtype", "suffix"),
    [("WAV", "PCM_16", "wav"), ("WAV", "IMA_ADPCM", "wav"), ("WAV", "MS_ADPCM", "wav"), ("RF64", "PCM_16", "wav")]
    + [("W64", "PCM_16", "w64"), ("AIFF", "PCM_16", "aiff"), ("CAF", "PCM_16", "caf"), ("AU", "PCM_16", "au")]
    + [
        ("FLAC", "PCM_16", "flac"),
        ("FLAC", "PCM_24", "flac"),
        ("OGG", "VORBIS", "ogg"),
        ("MP3", "MPEG_LAYER_III", "mp3"),
    ],
)
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_a_file_is_read_whole_and_refused_when_it_is_cut(
    sound, tmp_path: Path, form: str, subtype: str, suffix: str, rate: int
) -> None:
    path = tmp_path / f"a.{suffix}"
    sf.write(path, sound.talk(3, rate), rate, format=form, subtype=subtype)
    assert np.nanmax(np.abs(sound.offsets(sound.passed(path), sound.talk(3)))) < 0.03
    content = path.read_bytes()
    for share in (0.3, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        sound.refused(path, r"cut short|is damaged after|cannot be read", None)


def test_headers_that_contradict_themselves_are_refused(sound, tmp_path: Path) -> None:
    content = wav(sound.talk(1), None)
    at = content.index(b"fmt ") + 8
    for offset, value in ((2, 2), (4, 129), (12, 4), (14, 24)):
        changed = bytearray(content)
        changed[at + offset] = value
        (tmp_path / "a.wav").write_bytes(changed)
        sound.refused(tmp_path / "a.wav", "cannot be read as audio .its header contradicts itself: ", "unreadable")


def test_flac_of_unknown_length_is_read_and_its_md5_is_checked(sound, tmp_path: Path) -> None:
    sf.write(tmp_path / "a.flac", sound.talk(3), RATE)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    (tmp_path / "b.flac").write_bytes(content)
    assert np.abs(sound.passed(tmp_path / "b.flac") - sound.talk(3)).max() < 1e-4
    assert declared_seconds(tmp_path / "b.flac") == pytest.approx(3) and declared_seconds(tmp_path / "a.flac") == 3
    assert inspect_audio(tmp_path / "b.flac", LIMITS) == inspect_audio(tmp_path / "a.flac", LIMITS)
    content[30] ^= 1
    (tmp_path / "b.flac").write_bytes(content)
    sound.refused(tmp_path / "b.flac", "MD5", "damaged")
