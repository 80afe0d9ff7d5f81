"""Decodes one audio track of a file with PyAV, whose wheel contains FFmpeg, and misses nothing in silence.

Each frame has its time by the stream's own timestamps, where its form has such. A packet that does not decode, bytes
that are no frames, and an end that is missing are errors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.chunks import Samples, read_samples_chunk
from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.containers import mp4_index_fault, mp4_is_cut, mpegts_is_cut, walk_matroska, walk_ogg
from lhotse_prep.audio.flac_header import FlacDigest, read_flac_header
from lhotse_prep.audio.inspect import AudioError, cut_short, damaged, too_long, unreadable
from lhotse_prep.audio.raw_frames import RawFrames, walk_file

# What FFmpeg may take a file for: no playlist, which names other files, and no text or picture.
_FORMS = (
    "wav,w64,aiff,caf,au,flac,mp3,aac,loas,ac3,eac3,ogg,mov,matroska,mpegts,mpeg,avi,asf,flv,amr,amrnb,amrwb,ape,wv,tta"
)
_PACKET = "65536"  # bytes of a WAV that FFmpeg reads at a time
_TIMED = {"mov", "matroska", "ogg", "mpegts", "mpeg", "asf", "flv"}  # forms whose timestamps are their own
_DECLARE_LENGTH = {"mov": 0.2, "matroska": 0.2, "asf": 1.0, "avi": 1.0, "flv": 1.0}  # tolerance in seconds
_VIDEO_TOLERANCE = 1.0  # seconds; of a length that also counts pictures
_FIRST_SECONDS = 1.0  # a recording of a broadcast may begin within a packet
_INDEX_TOLERANCE = 2  # frames; some encoders count the one that holds the index
_RAW_TOLERANCE = 5  # frames; what encoders add to an MP3, and decoders take away


class Frame(NamedTuple):
    """What a packet decodes to."""

    time: float | None  # seconds from the beginning of the recording; None: right after the frame before
    rate: int
    samples: NDArray[np.float32]  # (C, T)


@dataclass
class Track:
    """An audio track, and what is known of it; `restarts` says that its clock may begin again."""

    path: Path
    index: int = 0  # among the audio tracks, in the order in which they are tried
    num_tracks: int = 1
    codec: str = ""
    restarts: bool = False
    reads_all: bool = False  # the header declares less than the file holds
    edited_out: float = 0.0  # seconds that the edit list of an MP4 leaves out

    @property
    def is_pcm(self) -> bool:
        """True if samples are stored as they are, so that floats may have any scale."""
        return self.codec.startswith("pcm_") or self.codec == "wavpack"


def check_structure(path: Path, limits: AudioLimits) -> Samples | None:
    """Compare a header of WAV, W64, AIFF, CAF or AU with the file; None if the file is of another form.

    Raises:
      AudioError: it declares more than the file holds, or less in another form than WAV, or contradicts itself.
    """
    chunk = read_samples_chunk(path)
    if chunk is None:
        return None
    if chunk.contradiction:
        raise unreadable(path, f"its header contradicts itself: {chunk.contradiction}")

    def amount(num_bytes: int) -> str:
        if chunk.block_align:
            return f"{num_bytes // chunk.block_align} samples"
        return f"{num_bytes / chunk.byte_rate:.2f} s" if chunk.byte_rate else f"{num_bytes} bytes of samples"

    if chunk.declared is not None:
        hours = chunk.declared / chunk.byte_rate / 3600 if chunk.byte_rate else 0.0
        if hours > limits.max_hours:
            raise too_long(path, f"its header declares {hours:.1f} h")
        if chunk.declared - chunk.available >= max(1, chunk.block_align):
            declared = amount(chunk.declared).removesuffix(" samples")
            raise cut_short(path, f"has {amount(chunk.available)}, its header says {declared}")
    if chunk.declares_less and chunk.dialect != "WAV":
        held = amount(chunk.available).removesuffix(" samples")
        message = f"{path} declares {amount(chunk.declared or 0)} and holds {held}"
        raise AudioError("header", message, "write it again with its true length (ffmpeg -i IN OUT.wav)")
    return chunk


@contextmanager
def _opened(path: Path, reads_all: bool) -> Iterator[Any]:
    import av

    options = {"format_whitelist": _FORMS, "protocol_whitelist": "file", "max_size": _PACKET}
    options |= {"ignore_length": "1"} if reads_all else {}
    try:
        container = av.open(f"file:{os.path.abspath(path)}", options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError, MemoryError, OSError) as e:
        raise unreadable(path, reason_of(e)) from e
    with container:
        yield container


def reason_of(error: BaseException) -> str:
    """A few words on an error of FFmpeg's, without the name of a file."""
    text = str(getattr(error, "strerror", None) or error) or type(error).__name__
    if text == "Invalid argument":
        text = "no known form of sound"
    return re.sub(r"file:\S+", "", " ".join(text.split()))


def container_seconds(path: Path) -> float | None:
    """The duration by the header of the container, or else by decoding all; None if there is no sound."""
    import av

    with _opened(path, False) as container:
        if not container.streams.audio:
            return None
        forms = container.format.name.split(",")
        raw = walk_file(path, forms[0]) if forms[0] in ("mp3", "aac") else None
        if raw is not None:
            return raw.seconds
        if container.duration and container.duration > 0:
            return float(container.duration / av.time_base)
    seconds = [x.samples.shape[1] / x.rate for x in decoded(Track(path), AudioLimits())]
    return sum(seconds) if seconds else None


def decoded(track: Track, limits: AudioLimits) -> Iterator[Frame]:
    """The frames of a track, in the order of the file; also fills in what `track` says of it.

    Raises:
      AudioError: there is no such track, it does not decode from some second on, or its end is missing.
    """
    chunk = check_structure(track.path, limits)
    track.reads_all = chunk is not None and chunk.declares_less
    with _opened(track.path, track.reads_all) as container:
        yield from _Decoder(track, container, limits).frames()


class _Decoder:
    """Decodes one track of an opened file, and compares what it gives with what the file declares."""

    def __init__(self, track: Track, container: Any, limits: AudioLimits) -> None:
        import av

        self.track, self.path, self.container = track, track.path, container
        default = _bits(av.stream.Disposition.default)
        streams = sorted(container.streams.audio, key=lambda s: not _bits(s.disposition) & default)
        if not streams:
            raise AudioError("unreadable", f"{self.path} has no audio stream", "give a file with audio")
        self.stream = streams[track.index]
        if self.stream.codec_context is None:
            raise unreadable(self.path, "its sound is encrypted, or of an unknown codec")
        self.stream.codec_context.thread_count = 1
        self.integers = _integers(self.stream.codec_context)
        track.num_tracks, track.codec = len(streams), self.stream.codec_context.name
        names = container.format.name.split(",")
        self.form = str(next((n for n in names if n in _FORMS.split(",")), names[0]))
        track.restarts = bool(_bits(container.format.flags) & _bits(av.format.Flags.ts_discont))
        self.is_timed = self.form in _TIMED
        # clocks that may begin anywhere count from the earliest stream's start, all others from 0
        self.base = (container.start_time or 0) / av.time_base if track.restarts else 0.0
        self.tick = float(self.stream.time_base or 0)  # seconds
        self.raw = self._walk()
        self.errors: list[tuple[float, str]] = []
        self.position = 0.0  # seconds: the end of the last frame, from the beginning of the recording
        self.decoded = 0.0  # seconds of all frames
        self.first: float | None = None
        self.last_of_others = 0.0
        self.declared = self._declared(limits)
        header = read_flac_header(self.path) if self.form == "flac" else None
        self.flac = header if header is not None and header.has_md5 else None
        self.digest = FlacDigest(header.bits) if header is not None else None

    def _walk(self) -> RawFrames | None:
        """Check the structure of Ogg, Matroska, MP4, MP3 and ADTS before anything is decoded."""
        if self.form in ("ogg", "matroska"):
            walk = walk_ogg(self.path) if self.form == "ogg" else walk_matroska(self.path)
            if walk is not None and walk.fault:
                raise damaged(self.path, walk.seconds, walk.fault)
            if walk is not None and not walk.has_end:
                raise cut_short(self.path, f"ends after {walk.seconds:.2f} s without its end")
        if self.form == "mov" and (fault := mp4_index_fault(self.path)):
            raise damaged(self.path, 0.0, fault)
        if self.form not in ("mp3", "aac"):
            return None
        raw = walk_file(self.path, self.form)
        if raw is None:
            raise unreadable(self.path, "it has no frames that follow each other")
        if raw.gap is not None:
            raise damaged(self.path, raw.gap, "bytes that are no frames")
        if raw.declared is not None and raw.seconds < raw.declared - _INDEX_TOLERANCE * raw.frame_seconds:
            raise cut_short(self.path, f"has {raw.seconds:.2f} s, its header says {raw.declared:.2f} s")
        if raw.is_cut:
            raise cut_short(self.path, f"ends at {raw.seconds:.2f} s in the middle of a frame")
        return raw

    def _declared(self, limits: AudioLimits) -> float | None:
        """The length of the track in seconds, if the file gives it and it is no guess of FFmpeg's."""
        import av

        if self.form not in _DECLARE_LENGTH:
            return None
        lengths = []
        if self.stream.duration and self.stream.time_base:
            lengths.append(float(self.stream.duration * self.stream.time_base))
        if self.container.duration and self.container.duration > 0:
            lengths.append(self.container.duration / av.time_base)
        if lengths and min(lengths) > limits.max_hours * 3600:
            raise too_long(self.path, f"its header declares {min(lengths) / 3600:.1f} h")
        return min(lengths, default=None)

    def frames(self) -> Iterator[Frame]:
        """All frames; see decoded()."""
        for packet in self._packets():
            for frame in self._decode(packet):
                yield self._converted(frame)
        self._check_errors()
        self._check_end()

    def _packets(self) -> Iterator[Any]:
        import av

        others = [s for s in self.container.streams if s.type in ("audio", "video")]
        packets = self.container.demux(*others)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, ValueError, MemoryError, OSError) as e:
                raise damaged(self.path, self.position, reason_of(e)) from e
            if packet.stream_index == self.stream.index:
                yield packet
            elif packet.pts is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self.last_of_others = max(self.last_of_others, end)

    def _decode(self, packet: Any) -> list[Any]:
        """The frames of a packet; an error is noted, unless it lies where nothing is lost."""
        import av

        try:
            frames = list(packet.decode() if self.integers is None else self.integers.decode(packet))
            if packet.is_corrupt and self.is_timed and self.first is not None:
                self.errors.append((self.position, "a packet is not whole"))
                self._check_errors()
            return frames
        except (av.FFmpegError, ValueError, MemoryError, OSError) as e:
            time = self._time(packet)
            is_tail = self.raw is not None and packet.pos is not None and packet.pos >= self.raw.end
            is_head = self.first is None and (time if time is not None else 0.0) < _FIRST_SECONDS
            if not (is_tail or is_head):
                self.errors.append((self.position if time is None else time, reason_of(e)))
                if self.raw is None:
                    self._check_errors()
            return []

    def _check_errors(self) -> None:
        """Raise AudioError if packets did not decode; those that hold a tag between two MP3 files are no loss."""
        if len(self.errors) > (self.raw.num_tags if self.raw is not None else 0):
            if self.form == "mov" and mp4_is_cut(self.path):
                raise cut_short(self.path, f"ends at {self.errors[0][0]:.2f} s in the middle of its data")
            raise damaged(self.path, *self.errors[0])

    def _time(self, packet_or_frame: Any) -> float | None:
        """Seconds from the beginning of the recording; None if the form has no timestamps of its own."""
        if not self.is_timed or packet_or_frame.pts is None:
            return None
        return float(packet_or_frame.pts * self.tick - self.base)

    def _converted(self, frame: Any) -> Frame:
        rate, channels, time = frame.sample_rate, frame.layout.nb_channels, self._time(frame)
        try:
            array = frame.to_ndarray()
        except (ValueError, MemoryError) as e:
            raise damaged(self.path, self.position, reason_of(e)) from e
        if not frame.format.is_planar:
            array = array.reshape(-1, channels).T
        if self.digest is not None:
            self.digest.add(array.T)
        samples = _as_float(array)
        start = self.position if time is None else time
        self.first = start if self.first is None else self.first
        self.position = start + samples.shape[1] / rate
        self.decoded += samples.shape[1] / rate
        return Frame(time, rate, samples)

    def _check_end(self) -> None:
        if self.raw is not None and self.decoded < self.raw.seconds - _RAW_TOLERANCE * self.raw.frame_seconds:
            text = f"only {self.decoded:.2f} s of its {self.raw.seconds:.2f} s decode"
            raise damaged(self.path, self.position, text)
        if self.flac is not None and self.digest is not None and self.digest.digest() != self.flac.md5:
            if 0 < self.flac.num_samples > round(self.decoded * self.flac.sampling_rate):
                num_samples = round(self.decoded * self.flac.sampling_rate)
                raise cut_short(self.path, f"has {num_samples} samples, its header says {self.flac.num_samples}")
            raise damaged(self.path, 0.0, "its samples do not have the MD5 that its header gives")
        span = self.decoded if self.first is None else max(self.position, self.last_of_others) - min(0.0, self.first)
        if self.declared is not None:
            tolerance = _DECLARE_LENGTH[self.form]
            if self.last_of_others:
                tolerance = max(tolerance, _VIDEO_TOLERANCE)
            missing = self.declared - max(span, self.position - (self.first or 0.0))
            if missing > tolerance:
                raise cut_short(self.path, f"decodes to {span:.2f} s, its header says {self.declared:.2f} s")
        elif (self.form == "mov" and mp4_is_cut(self.path)) or (self.form == "mpegts" and mpegts_is_cut(self.path)):
            raise cut_short(self.path, f"ends at {span:.2f} s in the middle of its data")
        if self.form == "mov":
            self._check_index()
            self.track.edited_out = self._edited_out()

    def _check_index(self) -> None:
        """Raise AudioError if the index of an MP4 leads out of the file: there FFmpeg ends without a word.

        That of the pictures too, after which no more sound is read.
        """
        size = os.path.getsize(self.path)
        tracks = [s for s in self.container.streams if s.type in ("audio", "video")]
        if any(entry.pos + entry.size > size for track in tracks for entry in track.index_entries):
            if mp4_is_cut(self.path):
                raise cut_short(self.path, f"ends at {self.position:.2f} s in the middle of its data")
            raise damaged(self.path, self.position, "its index names places beyond the end of the file")

    def _edited_out(self) -> float:
        """Seconds of packets that an edit list leaves out; 0 for PCM, whose index has chunks of samples."""
        entries = list(self.stream.index_entries)
        left_out = self.stream.frames - sum(not entry.is_discard for entry in entries)
        if left_out <= 0 or len(entries) < 2 or self.track.codec.startswith(("pcm_", "adpcm_")):
            return 0.0
        return float(left_out * (entries[-1].timestamp - entries[0].timestamp) / (len(entries) - 1) * self.tick)


def _integers(codec: Any) -> Any:
    """A decoder of integers of 24 bits in 32 (WAVE_FORMAT_EXTENSIBLE), which FFmpeg takes for floats; or None."""
    import av

    if codec.name != "pcm_f24le":
        return None
    integers = av.CodecContext.create("pcm_s32le", "r")
    integers.sample_rate, integers.layout = codec.sample_rate, codec.layout
    return integers


def _bits(flags: Any) -> int:
    """PyAV's flags as an integer; some are an enumeration, others a number."""
    return int(getattr(flags, "value", flags))


def _as_float(array: NDArray[Any]) -> NDArray[np.float32]:
    """(C, T) samples of any type with full scale at 1."""
    if array.dtype == np.float32:
        return array
    if array.dtype == np.uint8:
        return np.asarray((array.astype(np.int16) - 128) / 128, np.float32)
    if np.issubdtype(array.dtype, np.integer):
        scale = 2.0 ** (1 - 8 * array.dtype.itemsize)
        kind = np.float32 if array.dtype.itemsize == 2 else np.float64
        return np.asarray(array * kind(scale), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array, np.float32)
