"""Walks the frames of an MP3 or ADTS (.aac) file, which have no container: its true length, gaps, and a cut end.

FFmpeg only guesses the length of these, and passes over bytes that are no frames without a word.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

Bytes = bytes | memoryview | mmap.mmap
_KBITS = {  # bit rates by (MPEG 1, layer), ISO 11172-3 and 13818-3
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)  # of MPEG 1; MPEG 2 has half of them, 2.5 a quarter
_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_CHAIN = 3  # frames in a row that show that they are frames
_MAX_HEAD = 1 << 20  # bytes before the first frame
_MAX_TAIL = 1 << 16  # bytes after the last frame that are no known tag

FrameAt = Callable[[Bytes, int], tuple[int, float] | None]  # (length in bytes, seconds) of the frame at a byte


@dataclass(frozen=True)
class RawFrames:
    """What a walk over all frames gives."""

    seconds: float  # of all frames
    end: int  # the byte after the last frame
    gap: float | None = None  # seconds at which bytes that are no frames come first
    is_cut: bool = False  # the last frame is not whole
    num_tags: int = 0  # tags between frames
    declared: float | None = None  # seconds by the Xing, Info or VBRI header of an MP3
    frame_seconds: float = 0.0  # of the first frame


def walk_mp3(data: Bytes) -> RawFrames | None:
    """The frames of an MP3 file; None if there are none that can be walked (a free bit rate)."""
    first = _first_frame(data, mp3_frame)
    if first is None:
        return None
    length, seconds = mp3_frame(data, first) or (0, 0.0)
    declared = _declared_frames(bytes(data[first : first + length]))
    frames = _walk(data, first, mp3_frame)
    if _skips_frame(data, first, mp3_frame):
        return replace(frames, gap=0.0)
    if declared is None:
        return frames
    # the frame that holds the header is silent and not counted
    return replace(frames, declared=(declared + 1) * seconds)


def walk_adts(data: Bytes) -> RawFrames | None:
    """The frames of an ADTS file; None if there are none."""
    first = _first_frame(data, adts_frame)
    if first is None:
        return None
    frames = _walk(data, first, adts_frame)
    return replace(frames, gap=0.0) if _skips_frame(data, first, adts_frame) else frames


def walk_file(path: Path, form: str) -> RawFrames | None:
    """walk_mp3 or walk_adts of a file: form is mp3 or aac. Raises OSError."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return (walk_mp3 if form == "mp3" else walk_adts)(data)


def mp3_frame(data: Bytes, at: int) -> tuple[int, float] | None:
    """Length in bytes and seconds of the MPEG audio frame at a byte; None if there is none."""
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or kbits in (0, 15) or rate == 3:
        return None
    is_first = version == 3
    hertz = _RATES[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits, padding = 1000 * _KBITS[is_first, layer][kbits], head[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4, 384 / hertz
    num_samples = 576 if layer == 3 and not is_first else 1152
    return num_samples // 8 * bits // hertz + padding, num_samples / hertz


def adts_frame(data: Bytes, at: int) -> tuple[int, float] | None:
    """Length in bytes and seconds of the ADTS frame at a byte; None if there is none."""
    head = data[at : at + 7]
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 >= len(_ADTS_RATES):
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    seconds = 1024 * ((head[6] & 3) + 1) / _ADTS_RATES[head[2] >> 2 & 15]
    return (length, seconds) if length > 7 else None


def after_id3(head: bytes) -> int:
    """The number of bytes of the ID3v2 tag whose first ten bytes these are; 0 if they are no such tag."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = (head[6] & 127) << 21 | (head[7] & 127) << 14 | (head[8] & 127) << 7 | head[9] & 127
    return 10 + size + (10 if head[5] & 16 else 0)


def _first_frame(data: Bytes, frame_at: FrameAt) -> int | None:
    """The first byte after any tag at which some frames follow each other, or end with the file."""
    at = _after_tags(data)
    return _next_frame(data, at, min(len(data), at + _MAX_HEAD), frame_at)


def _after_tags(data: Bytes) -> int:
    at = 0
    while length := after_id3(bytes(data[at : at + 10])):
        at += length
    return at


def _skips_frame(data: Bytes, first: int, frame_at: FrameAt) -> bool:
    """True if the file begins with a frame, but the first of some that follow each other is a later one."""
    return (at := _after_tags(data)) < first and frame_at(data, at) is not None


def _next_frame(data: Bytes, begin: int, end: int, frame_at: FrameAt) -> int | None:
    """The first byte in begin..end at which _CHAIN frames follow each other, or fewer that end with the file."""
    window = bytes(data[begin:end])
    offset = window.find(b"\xff")
    while offset >= 0:
        at, number = begin + offset, 0
        while number < _CHAIN and (frame := frame_at(data, at)) is not None:
            at, number = at + frame[0], number + 1
            if at >= len(data):
                break
        if number == _CHAIN or (number and at == len(data)):
            return begin + offset
        offset = window.find(b"\xff", offset + 1)
    return None


def _walk(data: Bytes, at: int, frame_at: FrameAt) -> RawFrames:
    seconds, end, num_tags = 0.0, at, 0
    length = (frame_at(data, at) or (0, 0.0))[1]
    gap: float | None = None
    size = len(data)
    while at < size:
        frame = frame_at(data, at)
        if frame is not None:
            if at + frame[0] > size:
                return RawFrames(seconds, end, gap, True, num_tags, None, length)
            at, seconds = at + frame[0], seconds + frame[1]
            end = at
            continue
        if (tag := _tag(data, at)) and at + tag <= size:
            at, num_tags = at + tag, num_tags + (at + tag < size)
            continue
        following = _next_frame(data, at, size, frame_at)
        if following is None:  # a head that is cut off, or what some program has put at the end
            is_cut = size - at < 8 and data[at] == 0xFF
            gap = seconds if gap is None and size - at > _MAX_TAIL else gap
            return RawFrames(seconds, end, gap, is_cut, num_tags, None, length)
        gap = seconds if gap is None else gap
        at = following
    return RawFrames(seconds, end, gap, False, num_tags, None, length)


def _tag(data: Bytes, at: int) -> int:
    """The length of the tag at a byte (ID3v1, ID3v2, APE, Lyrics3); 0 if there is none."""
    head = bytes(data[at : at + 32])
    if head[:3] == b"TAG":
        return 227 + 128 if head[3:4] == b"+" else 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        return int.from_bytes(head[12:16], "little") + (32 if head[23] & 0x20 else 0)
    if head[:11] == b"LYRICSBEGIN":
        lyrics = bytes(data[at : at + (1 << 20)])
        ends = [lyrics.find(mark) + len(mark) for mark in (b"LYRICS200", b"LYRICSEND") if mark in lyrics]
        return min(ends, default=0)
    return after_id3(head[:10])


def _declared_frames(frame: bytes) -> int | None:
    """The number of frames that the Xing, Info or VBRI header in the first frame gives."""
    for mark in (b"Xing", b"Info"):
        at = frame[:64].find(mark)
        if at >= 0 and len(frame) >= at + 12 and frame[at + 7] & 1:
            return int.from_bytes(frame[at + 8 : at + 12], "big")
    if frame[36:40] == b"VBRI" and len(frame) >= 54:
        return int.from_bytes(frame[50:54], "big")
    return None
