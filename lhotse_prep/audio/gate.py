"""The gate that all sound goes through before anything else sees it: right samples at 16 kHz, or one AudioError.

A recording is read twice, a second at a time: first it is surveyed, which checks all its samples and measures its
channels; then it is mixed and resampled by what was measured. 16 kHz mono 16-bit WAV and FLAC files pass as they are.
"""

from __future__ import annotations

import logging
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.channels import ChannelMeter, Mix
from lhotse_prep.audio.chunks import read_samples_chunk
from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.decode import Track, check_structure, container_seconds, decoded
from lhotse_prep.audio.flac_header import FlacDigest, read_flac_header
from lhotse_prep.audio.inspect import (
    SAMPLE_RATE,
    AudioError,
    AudioReport,
    SampleChecks,
    cut_short,
    damaged,
    too_long,
    unreadable,
)
from lhotse_prep.audio.resample import resampled
from lhotse_prep.audio.timeline import Timeline

logger = logging.getLogger(__name__)

_BLOCK = 1 << 20  # samples of a file that passes as it is, read at a time
_MOST = 1.0  # seconds that are mixed and checked at a time
_LOUDEST = 4.0  # a compressed sample beyond this was not recorded
_FAR_BEYOND = 8.0  # floats up to this have full scale at 1, if they were recorded too loud
_SCALES = (2.0**15, 2.0**23, 2.0**31)  # full scale of floats that hold integers
_SPEECH_RANGE = 12.0  # dB between loud and quiet moments; a track with less has no speech that stands out

Block = tuple[int, NDArray[np.float32]]  # rate, samples (C, T)


@dataclass(frozen=True)
class Survey:
    """What a complete read of a recording says about it."""

    track: Track
    is_ready: bool  # 16 kHz mono 16-bit WAV or FLAC, which libsndfile reads whole
    form: str  # "48000 Hz, 2 channels, aac"
    mixes: tuple[Mix, ...]  # of each stretch of one rate and one number of channels
    gain: float  # that samples are multiplied with
    report: AudioReport
    notes: tuple[str, ...]  # what is done to it, for the log


def survey(audio: Path, limits: AudioLimits) -> Survey:
    """Read all of a recording, and check it.

    Raises:
      AudioError: it is no sound that can be used, whatever the reason; the message names the file and the reason.
    """
    _check_file(audio)
    try:
        return _survey_ready(audio, limits) if is_ready(audio, limits) else _survey_tracks(audio, limits)
    except (sf.LibsndfileError, MemoryError, OSError, ValueError, ArithmeticError, LookupError, TypeError) as e:
        raise unreadable(audio, f"{type(e).__name__}: {e}") from e


def samples_of(audio: Survey, limits: AudioLimits) -> Iterator[NDArray[np.float32]]:
    """The samples (T,) of a surveyed recording: 16 kHz, mono, in [-1, 1], a second at a time; errors as survey."""
    track = Track(audio.track.path, audio.track.index)
    path = track.path
    mixed = (
        (rate, audio.gain * audio.mixes[section](samples))
        for section, rate, samples in _sections(Timeline(track, limits).place(decoded(track, limits)))
    )
    try:
        for samples in resampled(mixed):
            yield np.clip(samples, -1.0, 1.0)
    except LookupError as e:
        raise unreadable(path, "it changed while it was read") from e


def read_samples(audio: Path, limits: AudioLimits) -> NDArray[np.float32]:
    """All samples (T,) of a recording, 16 kHz, mono; errors as survey."""
    result = survey(audio, limits)
    if result.is_ready:
        return np.asarray(sf.read(str(audio), dtype="float32")[0])
    return np.concatenate(list(samples_of(result, limits)))


def inspect_audio(path: Path, limits: AudioLimits) -> AudioReport:
    """Read all samples of a recording that will be read as it is.

    Raises:
      AudioError: as survey; or the samples are not those that libsndfile reads, which does not see its header's fault.
    """
    result = survey(path, limits)
    if result.track.reads_all:
        raise AudioError(
            "header",
            f"{path} declares less than the {result.report.num_samples} samples that it holds",
            "run stage 0, or write it again with its true length (ffmpeg -i IN OUT.wav)",
        )
    if result.gain < 1 / _FAR_BEYOND:
        raise AudioError(
            "scale",
            f"{path} has samples of up to {result.report.peak:g}, and full scale is 1",
            "run stage 0, or divide them by full scale",
        )
    return result.report


def is_ready(audio: Path, limits: AudioLimits) -> bool:
    """True if a file is 16 kHz mono 16-bit WAV or FLAC whose header says what the file holds.

    Raises:
      AudioError: its header declares more than it holds, or more than max_hours.
    """
    chunk, header = check_structure(audio, limits), read_flac_header(audio)
    if chunk is None and (header is None or not header.num_samples):
        return False
    try:
        info = sf.info(str(audio))
    except (sf.LibsndfileError, TypeError):  # TypeError: the name ends in .raw
        return False
    if info.format not in ("WAV", "WAVEX", "FLAC"):
        return False
    if chunk is not None and (chunk.declares_less or chunk.num_samples != info.frames):
        return False
    if info.frames > limits.max_hours * 3600 * info.samplerate:
        raise too_long(audio, f"its header declares {info.frames / info.samplerate / 3600:.1f} h")
    return bool(info.samplerate == SAMPLE_RATE and info.channels == 1 and info.subtype == "PCM_16")


def _check_file(audio: Path) -> None:
    try:
        status = audio.stat()
        if not stat.S_ISREG(status.st_mode):
            raise unreadable(audio, "it is not a file")
        if status.st_size == 0:
            raise AudioError("no-samples", f"{audio} is empty (0 bytes)", "restore it or leave it out")
        with open(audio, "rb"):
            pass
    except OSError as e:
        raise unreadable(audio, e.strerror or e) from e


def _survey_ready(audio: Path, limits: AudioLimits) -> Survey:
    """Survey a file with libsndfile, as all that follows will read it."""
    header = read_flac_header(audio)
    digest = FlacDigest(header.bits) if header is not None and header.has_md5 else None
    checks = SampleChecks(audio, limits)
    with sf.SoundFile(str(audio)) as f:
        num_samples = f.frames
        try:
            for block in f.blocks(_BLOCK, dtype="int16", always_2d=True):
                if digest is not None:
                    digest.add(block)
                checks.add(block.T * np.float32(2.0**-15), SAMPLE_RATE, checks.num_samples / SAMPLE_RATE)
        except sf.LibsndfileError as e:
            raise damaged(audio, checks.num_samples / SAMPLE_RATE, e) from e
    if checks.num_samples != num_samples:
        raise cut_short(audio, f"has {checks.num_samples} samples, its header says {num_samples}")
    if digest is not None and header is not None and digest.digest() != header.md5:
        raise damaged(audio, 0.0, "its samples do not have the MD5 that its header gives")
    checks.check_sound()
    codec = "flac" if header is not None else "pcm_s16le"
    form = f"{SAMPLE_RATE} Hz, 1 channels, {codec}"
    return Survey(Track(audio, codec=codec), True, form, (Mix((1.0,), (0.0,)),), 1.0, checks.report(), ())


def _survey_tracks(audio: Path, limits: AudioLimits) -> Survey:
    """Survey the first track that has speech, or else the first one that has sound."""
    with_sound: Survey | None = None
    index, num_tracks = 0, 1
    silent: AudioError | None = None
    while index < num_tracks:
        track = Track(audio, index)
        try:
            result, speech_range = _survey_track(track, limits)
        except AudioError as e:
            if e.check not in ("silent", "no-samples"):
                raise
            silent = silent or e
        else:
            if track.num_tracks == 1 or speech_range >= _SPEECH_RANGE:
                return result
            with_sound = with_sound or result
        index, num_tracks = index + 1, track.num_tracks
    if with_sound is None:
        assert silent is not None
        raise silent
    return with_sound


def _survey_track(track: Track, limits: AudioLimits) -> tuple[Survey, float]:
    """The survey of a track, and dB between its loud and its quiet moments."""
    checks, timeline = SampleChecks(track.path, limits), Timeline(track, limits)
    meters: list[ChannelMeter] = []
    forms: list[str] = []
    seconds = 0.0
    for section, rate, samples in _sections(timeline.place(decoded(track, limits))):
        if section == len(meters):
            meters.append(ChannelMeter(len(samples), rate))
            forms.append(f"{rate} Hz, {len(samples)} channels")
        checks.add(samples, rate, seconds)
        if checks.peak > _LOUDEST and not track.is_pcm:
            raise damaged(track.path, seconds, f"its samples reach {checks.peak:g}, and full scale is 1")
        if len(samples) > 1 or track.num_tracks > 1:
            meters[section].add(samples)
        seconds += samples.shape[1] / rate
    gain, notes = _gain(track, checks.peak)
    checks.check_sound()
    mixes = tuple(meter.mix() for meter in meters)
    notes += [mix.note for mix in dict.fromkeys(mixes) if mix.note]
    if track.num_tracks > 1:
        notes.append(f"audio track {track.index + 1} of {track.num_tracks}")
    if track.reads_all:
        notes.append("all samples up to the end of the file, of which its header declares only a part")
    form = f"{' and '.join(dict.fromkeys(forms))}, {track.codec}"
    result = Survey(track, False, form, mixes, gain, checks.report(), tuple(notes + timeline.notes()))
    return result, max(meter.range() for meter in meters) if track.num_tracks > 1 else 0.0


def _gain(track: Track, peak: float) -> tuple[float, list[str]]:
    """What samples are multiplied with, and what to say of it; only uncompressed floats are ever beyond full scale."""
    if peak <= 1 or not track.is_pcm:
        return 1.0, []
    if peak <= _FAR_BEYOND:
        return 1 / peak, [f"divided by {peak:.3f}, its loudest sample"]
    scale = next((s for s in _SCALES if s / 128 < peak <= 1.01 * s), None)
    if scale is None:
        raise AudioError(
            "scale",
            f"{track.path} has samples of up to {peak:g}, and full scale is 1",
            "divide them by full scale, or write 16-bit integers",
        )
    return 1 / scale, [f"divided by {scale:.0f}, since its samples are floats of up to {peak:.0f}"]


def _sections(blocks: Iterable[Block]) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (which stretch of one rate and one number of channels, rate, samples (C, T)), a second at a time."""
    section = -1
    form: tuple[int, int] | None = None
    parts: list[NDArray[np.float32]] = []
    size = 0
    for rate, samples in blocks:
        if form != (rate, len(samples)):
            if parts and form is not None:
                yield section, form[0], np.concatenate(parts, axis=1)
            section, form, parts, size = section + 1, (rate, len(samples)), [], 0
        parts.append(samples)
        size += samples.shape[1]
        if size >= _MOST * rate:
            yield section, rate, np.concatenate(parts, axis=1)
            parts, size = [], 0
    if parts and form is not None:
        yield section, form[0], np.concatenate(parts, axis=1)


def declared_seconds(audio: Path | memoryview) -> float | None:
    """The duration of a recording, or of the content of one, as its header says; None if it cannot be read.

    Only a recording whose header does not say it is decoded.
    """
    if isinstance(audio, memoryview):
        with tempfile.NamedTemporaryFile() as f:
            f.write(audio)
            f.flush()
            return declared_seconds(Path(f.name))
    try:
        _check_file(audio)
        chunk, header = read_samples_chunk(audio), read_flac_header(audio)
        if chunk is not None and chunk.byte_rate:
            return min(chunk.declared or chunk.available, chunk.available) / chunk.byte_rate
        if header is not None and header.num_samples and header.sampling_rate:
            return header.num_samples / header.sampling_rate
        return container_seconds(audio)
    except (AudioError, OSError):
        return None
