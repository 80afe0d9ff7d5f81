"""What goes through the gate is right, or is refused in one line that names the file."""

from __future__ import annotations

import io
import logging
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.containers import mp4_index_fault
from lhotse_prep.audio.convert import as_16k_mono, store_audio
from lhotse_prep.audio.gate import declared_seconds, inspect_audio, read_samples, survey
from lhotse_prep.audio.inspect import AudioError

RATE = 16_000
LIMITS = AudioLimits()


# Samples


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_samples_that_are_not_numbers_are_refused_with_the_first_time(sound, tmp_path: Path, value, rate: int) -> None:
    samples = np.stack([sound.talk(3, rate)] * 2, axis=1)
    samples[2 * rate :, 1] = value
    sf.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    sound.refused(tmp_path / "a.wav", "samples that are not numbers, first at 2.00 s", "not-a-number")


@pytest.mark.parametrize("rate", [RATE, 44_100])
@pytest.mark.parametrize(("scale", "divided"), [(2**15, "32768"), (2**23, "8388608"), (2**31, "2147483648")])
def test_floats_of_the_size_of_integers_are_scaled_and_it_is_said(
    sound, tmp_path: Path, caplog, rate: int, scale: int, divided: str
) -> None:
    sf.write(tmp_path / "a.wav", sound.talk(3, rate) * scale, rate, subtype="FLOAT")
    with caplog.at_level(logging.INFO):
        samples = sound.passed(tmp_path / "a.wav")
    assert np.abs(sound.offsets(samples, sound.talk(3))).max() < 0.001
    assert np.abs(samples).max() == pytest.approx(np.abs(sound.talk(3)).max(), rel=0.02)
    assert f"divided by {divided}, since its samples are floats of up to" in caplog.text
    with pytest.raises(AudioError, match="full scale is 1"):
        inspect_audio(tmp_path / "a.wav", LIMITS)


def test_floats_a_little_too_loud_keep_their_shape_and_others_are_refused(sound, tmp_path: Path, caplog) -> None:
    sf.write(tmp_path / "a.wav", sound.talk(2) * 5, RATE, subtype="FLOAT")
    with caplog.at_level(logging.INFO):
        samples = sound.passed(tmp_path / "a.wav")
    expected = sound.talk(2) / np.abs(sound.talk(2)).max()
    assert np.abs(samples - expected).max() < 1e-3 and "its loudest sample" in caplog.text
    sf.write(tmp_path / "b.wav", sound.talk(2) * 100, RATE, subtype="FLOAT")
    sound.refused(
        tmp_path / "b.wav", "has samples of up to [0-9.]+, and full scale is 1; divide them by full scale", "scale"
    )


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_kind_of_wav_gives_its_samples(sound, tmp_path: Path, subtype: str) -> None:
    sf.write(tmp_path / "a.wav", sound.talk(2), RATE, subtype=subtype)
    samples = sound.passed(tmp_path / "a.wav")
    tolerance = {"PCM_U8": 0.01, "ULAW": 0.02, "ALAW": 0.02}.get(subtype, 1e-4)
    assert len(samples) == 2 * RATE and np.abs(samples - sound.talk(2)).max() < tolerance


# Lengths that are guesses


def test_streams_without_a_length_are_whole(sound, tmp_path: Path) -> None:
    """Quiet at first, so that FFmpeg's guess from the bit rate is several times too long."""
    samples = np.concatenate([np.zeros(44_100 * 5, np.float32), sound.talk(6, 44_100)])
    for name, codec, options in (
        ("a.mp3", "libmp3lame", {"container_options": {"write_xing": "0"}}),
        ("a.aac", "aac", {"container": "adts"}),
    ):
        quality = (
            {"global_quality": "236", "flags": "+qscale"}
            if codec == "aac"
            else {"global_quality": "0", "flags": "+qscale"}
        )
        path = sound.encode(tmp_path / name, samples, 44_100, codec, codec_options=quality, **options)
        shifts = sound.offsets(sound.passed(path), sound.talk(6), lambda t: t + 5)
        assert np.abs(shifts).max() < 0.06, name
        assert declared_seconds(path) == pytest.approx(11, abs=0.1), name


@pytest.mark.parametrize("seed", range(6))
def test_tags_and_joined_files_are_no_damage(sound, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    path = sound.encode(tmp_path / "a.mp3", sound.talk(2, 44_100), 44_100, "libmp3lame")
    id3v1 = b"TAG" + b"x" * 125
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 64, 1, 0) + bytes(8) + b"v" * 32
    lyrics = b"LYRICSBEGININD0000200000010LYRICS200"
    end = rng.choice([id3v1, ape, lyrics + id3v1, ape + id3v1, b"", b"\0" * 300])
    content = path.read_bytes()
    path.write_bytes(content + end)
    assert np.abs(sound.offsets(sound.passed(path), sound.talk(2))).max() < 0.03
    path.write_bytes(content + id3v1 + content + end)  # cat a.mp3 a.mp3
    assert len(sound.passed(path)) / RATE == pytest.approx(4, abs=0.2)


def test_mp3_that_ends_before_its_index_says_is_cut_short(sound, tmp_path: Path) -> None:
    path = sound.encode(tmp_path / "a.mp3", sound.talk(4, 44_100), 44_100, "libmp3lame")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sound.refused(path, r"has [0-9.]+ s, its header says 4\.\d\d s; it was cut short", "cut-short")


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp3", "libmp3lame"), ("a.aac", "aac"), ("a.ogg", "libopus"), ("a.webm", "libopus")]
)
def test_a_part_that_does_not_decode_is_refused_with_its_time(sound, tmp_path: Path, name: str, codec: str) -> None:
    path = sound.encode(tmp_path / name, sound.talk(4, 48_000), 48_000, codec)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    error = sound.refused(path, r"is damaged after [0-9.]+ s", "damaged")
    assert 0.8 < float(error.message.partition("after ")[2].partition(" ")[0]) < 2.6


# Rates


def test_a_rate_that_changes_inside_is_followed(sound, tmp_path: Path) -> None:
    options = {"container_options": {"write_xing": "0", "id3v2_version": "0"}}
    sound.encode(tmp_path / "1.mp3", sound.talk(3, 44_100), 44_100, "libmp3lame", **options)
    stereo = np.stack([sound.talk(3, 48_000, seed=1)] * 2)
    sound.encode(tmp_path / "2.mp3", stereo, 48_000, "libmp3lame", **options)
    (tmp_path / "a.mp3").write_bytes((tmp_path / "1.mp3").read_bytes() + (tmp_path / "2.mp3").read_bytes())
    samples = sound.passed(tmp_path / "a.mp3")
    assert np.abs(sound.offsets(samples, sound.talk(3))).max() < 0.06
    assert np.abs(sound.offsets(samples, sound.talk(3, seed=1), lambda t: t + 3)).max() < 0.12


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 44_101, 47_999, 48_000])
def test_every_rate_is_resampled_to_the_same_place(sound, tmp_path: Path, rate: int) -> None:
    sf.write(tmp_path / "a.wav", sound.talk(4, rate), rate)
    samples = sound.passed(tmp_path / "a.wav")
    assert len(samples) == 4 * RATE and np.abs(sound.offsets(samples, sound.talk(4))).max() < 1.1 / RATE


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_ordinary_rates_sound_as_torchaudios(sound, tmp_path: Path, rate: int) -> None:
    import torch
    from torchaudio.functional import resample

    sf.write(tmp_path / "a.wav", sound.talk(4, rate), rate)
    expected = resample(torch.from_numpy(sf.read(tmp_path / "a.wav", dtype="float32")[0]), rate, RATE).numpy()
    difference = sound.passed(tmp_path / "a.wav") - expected
    inner = slice(100, -100)
    assert 10 * np.log10((expected[inner] ** 2).sum() / (difference[inner] ** 2).sum()) > 30


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    code = """
import re, sys
from pathlib import Path
from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.convert import as_16k_mono
for name in sys.argv[1:]:
    as_16k_mono(Path(name), Path(name).parent, AudioLimits())
    print(re.search("VmHWM:\\s*([0-9]+)", Path("/proc/self/status").read_text())[1])
"""
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (10 * 44_101, 2)).astype(np.float32)
    paths = []
    for number, repeats in enumerate((1, 6)):
        paths.append(tmp_path / f"{number}.wav")
        with sf.SoundFile(str(paths[-1]), "w", 44_101, 2, "PCM_16") as f:
            for _ in range(repeats):
                f.write(noise)
    project = Path(__file__).resolve().parents[3]
    output = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], cwd=project, check=True, capture_output=True, text=True
    ).stdout
    first, long = map(int, output.split())
    assert long < first + 30_000 and long < 400_000  # kilobytes


# Files that are no recordings


def no_audio(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_text("我們 今天"), "cannot be read as audio"),
        (lambda p: p.write_text("<!DOCTYPE html><html><body>404</body></html>"), "cannot be read as audio"),
        (lambda p: p.write_text("#EXTM3U\n#EXTINF:5,\nhttp://127.0.0.1:9/a.mp3\n"), "cannot be read as audio"),
        (lambda p: p.write_text("ffconcat version 1.0\nfile /etc/passwd\n"), "cannot be read as audio"),
        (lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)), "cannot be read as audio"),
        (lambda p: p.write_bytes(random.Random(0).randbytes(20_000)), "cannot be read as audio"),
        (lambda p: p.write_bytes(bytes(20_000)), "cannot be read as audio"),
        (lambda p: p.write_bytes(b"RIFF"), "cannot be read as audio"),
        (lambda p: p.write_bytes(b"\xff"), "cannot be read as audio"),
        (lambda p: p.touch(), r"is empty \(0 bytes\)"),
        (lambda p: p.mkdir(), "cannot be read as audio .it is not a file"),
        (lambda p: os.mkfifo(p), "cannot be read as audio .it is not a file"),
        (lambda p: p.symlink_to("gone"), "cannot be read as audio .No such file"),
        (no_audio, "has no audio stream; give a file with audio"),
    ],
)
@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.raw", "lecture 1: 講座%d.m4a"])
def test_what_is_no_recording_is_refused_in_one_line(sound, tmp_path: Path, make, message: str, name: str) -> None:
    make(tmp_path / name)
    sound.refused(tmp_path / name, message)
    assert declared_seconds(tmp_path / name) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(sound, tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", sound.talk(1), RATE)
    (tmp_path / "a.wav").chmod(0)
    sound.refused(tmp_path / "a.wav", "Permission denied")


def test_names_with_odd_characters_are_files_and_no_addresses(sound, tmp_path: Path) -> None:
    for name in ("http:x.mp3", "講座 %03d.mp3", "concat:a|b.mp3", "-i.mp3"):
        path = sound.encode(tmp_path / "x.mp3", sound.talk(1, 48_000), 48_000, "libmp3lame").rename(tmp_path / name)
        assert len(sound.passed(path)) == pytest.approx(RATE, abs=400)


@pytest.mark.parametrize(("loud", "expected"), [((True, True), 1), ((False, True), 2), ((True, False), 1)])
def test_the_first_track_with_sound_is_taken_and_named(sound, tmp_path: Path, caplog, loud, expected: int) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in loud]
        for number, (stream, is_loud) in enumerate(zip(streams, loud), 1):
            samples = sound.talk(2, seed=number) * is_loud
            content = (samples * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(content, format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    with caplog.at_level(logging.INFO):
        samples = sound.passed(tmp_path / "a.mkv")
    assert np.abs(sound.offsets(samples, sound.talk(2, seed=expected))).max() < 0.001
    assert f"audio track {expected} of 2" in caplog.text


def test_a_good_file_passes_as_it_is_and_others_are_read_as_arrays(sound, tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac"):
        sf.write(tmp_path / name, sound.talk(2), RATE)
        assert as_16k_mono(tmp_path / name, tmp_path / "none", LIMITS) == tmp_path / name
    stereo = np.stack([sound.talk(2, 48_000)] * 2, axis=1)
    sf.write(tmp_path / "b.wav", stereo, 48_000)
    a, b = (read_samples(tmp_path / name, LIMITS) for name in ("a.wav", "b.wav"))
    assert len(a) == len(b) == 2 * RATE and np.abs(a - b).max() < 0.02


def test_the_message_names_the_row_and_no_temporary_file(sound, tmp_path: Path) -> None:
    from lhotse_prep.corpora.source.config import CheckConfig
    from lhotse_prep.corpora.source.folder import keep_audio

    content = io.BytesIO()
    sf.write(content, np.full(RATE, np.nan), RATE, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError) as error:
        keep_audio(content.getvalue(), tmp_path, "row-7", CheckConfig())
    assert str(error.value).startswith("row-7 has samples that are not numbers") and str(tmp_path) not in str(
        error.value
    )


def test_a_conversion_is_logged_once_with_what_was_done(sound, tmp_path: Path, caplog) -> None:
    sound.encode(tmp_path / "a.mp4", sound.talk(2, 48_000), 48_000, "aac", first=1.0)
    with caplog.at_level(logging.INFO):
        store_audio(tmp_path / "a.mp4", tmp_path, "lecture", LIMITS)
    (line,) = [m for m in caplog.messages if m.startswith("lecture: ")]
    assert line.startswith("lecture: 48000 Hz, 1 channels, aac converted to 16 kHz mono FLAC; 0.98 s of silence put in")
    assert survey(tmp_path / "lecture.flac", LIMITS).is_ready


@pytest.mark.parametrize(("name", "codec"), [("a.ts", "aac"), ("a.ogg", "libopus")])
def test_joined_streams_follow_each_other(sound, tmp_path: Path, caplog, name: str, codec: str) -> None:
    """cat a.ts b.ts: the clock of the second begins again."""
    contents = []
    for seed in (0, 1):
        path = sound.encode(tmp_path / name, sound.talk(3, 48_000, seed), 48_000, codec)
        contents.append(path.read_bytes())
    path.write_bytes(b"".join(contents))
    with caplog.at_level(logging.INFO):
        samples = sound.passed(path)
    assert np.abs(sound.offsets(samples, sound.talk(3))).max() < 0.05
    assert np.abs(sound.offsets(samples, sound.talk(3, seed=1), lambda t: t + 3)).max() < 0.08
    assert "its clock begins again at 3." in caplog.text


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "aac", {"movflags": "frag_keyframe+empty_moov+default_base_moof"}),
        ("a.mp4", "aac", {"movflags": "faststart"}),
        ("a.mov", "pcm_s16le", {"movflags": "faststart"}),
        ("a.webm", "libopus", {"live": "1"}),
        ("a.mkv", "aac", {}),
        ("a.ogg", "libopus", {}),
        ("a.aac", "aac", {}),
    ],
)
def test_the_first_two_thirds_of_a_download_are_refused(
    sound, tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = sound.encode(tmp_path / name, sound.talk(4, 48_000), 48_000, codec, container_options=options)
    assert np.abs(sound.offsets(sound.passed(path), sound.talk(4))).max() < 0.03
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    sound.refused(path, "it was cut short: restore it", "cut-short")


def test_a_lost_end_of_an_mp4_with_pictures_is_refused_however_short(sound, tmp_path: Path) -> None:
    """The pictures go on; FFmpeg leaves out what it does not find, without a word."""
    options = {"video": True, "container_options": {"movflags": "faststart"}}
    path = sound.encode(tmp_path / "a.mp4", sound.talk(4, 48_000), 48_000, "aac", **options)
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    sound.refused(path, "ends at 3.9. s in the middle of its data", "cut-short")
    for at in (content.index(b"stco") + 8, content.rindex(b"stco") + 8):  # places of the pictures', the sound's chunks
        end = at + 4 + 4 * int.from_bytes(content[at : at + 4], "big")
        path.write_bytes(content[: end - 4] + (1 << 20).to_bytes(4, "big") + content[end:])
        sound.refused(path, "its index names places beyond the end of the file", "damaged")
    at = content.rindex(b"stsz") + 16 + 4 * 160  # the size of a packet
    path.write_bytes(content[:at] + b"\x40" + content[at + 1 :])
    sound.refused(path, "a packet in its index is larger than the file", "damaged")
    at = content.rindex(b"stsc") + 12 + 12 * 3 + 7  # packets in each chunk of the fourth run: less
    path.write_bytes(content[:at] + bytes([content[at] - 3]) + content[at + 1 :])
    sound.refused(path, "its index has [0-9]+ packets in chunks, and 189 sizes", "damaged")
    path.write_bytes(content)
    assert len(sound.passed(path)) == pytest.approx(4 * RATE, abs=0.03 * RATE)


def test_mp4_tables_that_are_cut_anywhere_give_no_traceback(sound, tmp_path: Path) -> None:
    path = sound.encode(tmp_path / "a.mp4", sound.talk(1, 48_000), 48_000, "aac")
    content = path.read_bytes()
    for size in range(content.index(b"moov"), len(content)):
        path.write_bytes(content[:size])
        mp4_index_fault(path)
    path.write_bytes(content)
    assert mp4_index_fault(path) == ""


def test_mp4_whose_sound_ends_before_the_pictures_passes(sound, tmp_path: Path) -> None:
    """Fragments take the length of the pictures for that of the sound."""
    for flags in ("frag_keyframe+empty_moov+default_base_moof+global_sidx", "faststart", ""):
        options = {"video": 4.0, "container_options": {"movflags": flags} if flags else {}}
        path = sound.encode(tmp_path / "a.mp4", sound.talk(4, 48_000)[: round(3.2 * 48_000)], 48_000, "aac", **options)
        with av.open(str(path)) as container:
            assert container.duration == pytest.approx(4e6, abs=1e5)
        assert len(sound.passed(path)) == pytest.approx(3.2 * RATE, abs=0.05 * RATE)
