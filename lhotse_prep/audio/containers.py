"""Walks the structure of Ogg (RFC 3533), Matroska (RFC 9559) and MP4 files: what is damaged, and a missing end.

FFmpeg leaves out a page whose checksum is wrong and what follows a damaged element, and takes the end of the file for
the end of the recording, without a word.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
_HEAD = 27  # bytes of a page before its table of segments
_MAX_JUNK = 1 << 16  # bytes at the end that some program has put there
_SEGMENT, _CLUSTER, _TIMESTAMP, _EBML = 0x18538067, 0x1F43B675, 0xE7, 0x1A45DFA3
_INFO, _TIMESTAMP_SCALE, _VOID, _CRC = 0x1549A966, 0x2AD7B1, 0xEC, 0xBF
_TRACKS, _TRACK_ENTRY, _TRACK_NUMBER = 0x1654AE6B, 0xAE, 0xD7
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK = 0xA3, 0xA0, 0xA1
_IN_SEGMENT = {0x114D9B74, _INFO, _TRACKS, _CLUSTER, 0x1C53BB6B, 0x1043A770, 0x1941A469, 0x1254C367, _VOID, _CRC}
_IN_CLUSTER = {_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, 0xAB, 0xA7, 0xAF, 0x5854, _VOID, _CRC}


@dataclass
class _Stream:
    """A logical stream: the number of its last page, its rate of granules, where it is."""

    number: int
    rate: int = 0
    granule: int = 0
    has_ended: bool = False

    @property
    def seconds(self) -> float:
        return self.granule / self.rate if self.rate else 0.0


@dataclass(frozen=True)
class Walk:
    """What a walk over a file gives."""

    fault: str = ""  # the first one; empty if there is none
    seconds: float = 0.0  # where that is, roughly
    has_end: bool = True  # nothing is missing at the end


def walk_ogg(path: Path) -> Walk | None:
    """The pages of an Ogg file; None if the file is of another form. Raises OSError."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _walk_pages(data) if data[:4] == b"OggS" else None


def _walk_pages(data: mmap.mmap) -> Walk:
    streams: dict[bytes, _Stream] = {}
    at, size = 0, len(data)

    def result(fault: str) -> Walk:
        seconds = max((s.seconds for s in streams.values()), default=0.0)
        return Walk(fault, seconds, all(s.has_ended for s in streams.values()))

    while at < size:
        head = data[at : at + _HEAD]
        if head[:4] != b"OggS":
            has_end = all(s.has_ended for s in streams.values())
            is_tail = data.find(b"OggS", at) < 0 and (size - at <= _MAX_JUNK)
            return result("" if is_tail and has_end else "bytes that are no page")
        body = at + _HEAD + (head[26] if len(head) == _HEAD else 0)
        end = body + sum(data[at + _HEAD : body]) if body <= size else size + 1
        if end > size:
            return result("") if len(head) == _HEAD else Walk("", 0.0, False)
        page = bytearray(data[at:end])
        page[22:26] = b"\0\0\0\0"
        if _checksum(page) != int.from_bytes(head[22:26], "little"):
            return result("the checksum of a page is wrong")
        if fault := _follow(streams, head, data[body : min(end, body + 64)]):
            return result(fault)
        at = end
    return result("")


def _follow(streams: dict[bytes, _Stream], head: bytes, content: bytes) -> str:
    """Take the next page; returns what is wrong with its place among the others."""
    kind, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
    granule = int.from_bytes(head[6:14], "little", signed=True)
    if kind & 2:
        streams[serial] = _Stream(number, _granules_per_second(content), 0, bool(kind & 4))
        return ""
    stream = streams.get(serial)
    if stream is None:
        return "the first page of a stream is missing"
    # a recording of a broadcast has the pages with headers, then those from the moment at which it began
    if number != (stream.number + 1) % (1 << 32) and stream.granule > 0:
        return "a page is missing"
    stream.number, stream.has_ended = number, bool(kind & 4)
    stream.granule = max(stream.granule, granule)
    return ""


def _granules_per_second(content: bytes) -> int:
    if content[:8] == b"OpusHead":
        return 48_000
    if content[:7] == b"\x01vorbis":
        return int.from_bytes(content[12:16], "little")
    if content[:8] == b"Speex   ":
        return int.from_bytes(content[36:40], "little")
    if content[:5] == b"\x7fFLAC" and len(content) >= 30:
        return int.from_bytes(content[27:30], "big") >> 4
    return 0


def _checksum(page: bytes | bytearray) -> int:
    """CRC-32 with the polynomial 0x04C11DB7, most significant bit first, from zlib's, which takes the least first."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def walk_matroska(path: Path) -> Walk | None:
    """The elements of a Matroska or WebM file; None if the file is of another form. Raises OSError."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = _element(data, 0)
        if head is None or head[0] != _EBML or head[2] is None:
            return None
        segment = _element(data, head[2])
        if segment is None or segment[0] != _SEGMENT:
            return Walk("its segment is missing")
        return _walk_segment(data, segment[1], segment[2])


def _walk_segment(data: mmap.mmap, at: int, end: int | None) -> Walk:
    """The children of a segment that ends at `end`, or with the file, and the children of its clusters."""
    size = len(data)
    last = size if end is None else min(end, size)
    scale, timestamp, seconds = 1_000_000, 0, 0.0  # nanoseconds of a timestamp; of the cluster; of the last block
    tracks: set[int] = set()
    cluster: int | None = None  # where the cluster ends that `at` is in; None: in no cluster
    while at < last:
        if cluster is not None and at >= cluster:
            cluster = None
        element = _element(data, at)
        known = _IN_SEGMENT if cluster is None else _IN_CLUSTER | (_IN_SEGMENT if cluster >= last else set())
        if element is None or element[0] not in known:
            return Walk("", seconds, False) if size - at < 12 else Walk("an element is unknown", seconds)
        name, content, stop = element
        if name == _CLUSTER:
            cluster, at = (last if stop is None else stop), content
            if cluster > size:
                return Walk("", seconds, False)
            continue
        if stop is None or stop > size:
            return Walk("", seconds, False)
        if cluster is not None and stop > cluster:
            return Walk("an element is longer than its cluster", seconds)
        if name == _TIMESTAMP:
            timestamp = int.from_bytes(data[content:stop], "big")
        elif name == _INFO:
            scale = next(_numbers(data, content, stop, _TIMESTAMP_SCALE), scale)
        elif name == _TRACKS:
            entries = [e for e in _children(data, content, stop) if e[0] == _TRACK_ENTRY]
            tracks = {number for _, first, last_ in entries for number in _numbers(data, first, last_, _TRACK_NUMBER)}
        elif name in (_SIMPLE_BLOCK, _BLOCK_GROUP):
            first = content
            if name == _BLOCK_GROUP:
                first = next((begin for child, begin, _ in _children(data, content, stop) if child == _BLOCK), content)
            track, shift = _head_of_block(data, first)
            if track not in tracks:
                return Walk("a block is of no track", seconds)
            seconds = (timestamp + shift) * scale / 1e9
        at = stop
    return Walk("", seconds, end is None or end <= size)


def _children(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(name, first byte of the content, the byte after it) of the elements between two bytes."""
    while at < end and (element := _element(data, at)) is not None and element[2] is not None:
        yield element[0], element[1], element[2]
        at = element[2]


def _numbers(data: mmap.mmap, at: int, end: int, name: int) -> Iterator[int]:
    return (int.from_bytes(data[first:stop], "big") for n, first, stop in _children(data, at, end) if n == name)


def _head_of_block(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Number of the track (0 if there is none), and timestamp relative to the cluster's, of the block at a byte."""
    head = data[at : at + 10]
    length = 9 - head[0].bit_length() if head and head[0] else 9
    if length + 2 > len(head):
        return 0, 0
    shift = int.from_bytes(head[length : length + 2], "big", signed=True)
    return int.from_bytes(head[:length], "big") & (1 << 7 * length) - 1, shift


def _element(data: mmap.mmap, at: int) -> tuple[int, int, int | None] | None:
    """Name, first byte of the content, and the byte after it (None: unknown) of the EBML element at a byte."""
    head = data[at : at + 12]
    if len(head) < 2 or not head[0] & 0xF0:
        return None
    name_length = 9 - head[0].bit_length()
    if len(head) <= name_length or not head[name_length]:
        return None
    size_length = 9 - head[name_length].bit_length()
    if len(head) < name_length + size_length:
        return None
    name = int.from_bytes(head[:name_length], "big")
    size = int.from_bytes(head[name_length : name_length + size_length], "big") & (1 << 7 * size_length) - 1
    begin = at + name_length + size_length
    return name, begin, None if size == (1 << 7 * size_length) - 1 else begin + size


def mp4_is_cut(path: Path) -> bool:
    """True if the last box of an MP4 file goes beyond the end of the file; False for other forms. Raises OSError."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        boxes = list(_boxes(data, 0, len(data)))
        return bool(boxes) and boxes[0][0] == b"ftyp" and boxes[-1][2] > len(data)


def mp4_index_fault(path: Path) -> str:
    """What is wrong with the tables of packets of an MP4's sound and pictures; "" if nothing.

    FFmpeg leaves out what they do not give. A fragmented file has them elsewhere, and passes. Raises OSError.
    """
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for track in _boxes_at(data, (0, len(data)), b"moov", b"trak"):
            kinds = [data[begin + 8 : begin + 12] for begin, _ in _boxes_at(data, track, b"mdia", b"hdlr")]
            if kinds[:1] not in ([b"soun"], [b"vide"]):
                continue
            for tables in _boxes_at(data, track, b"mdia", b"minf", b"stbl"):
                if fault := _fault_of_tables(data, tables):
                    return fault
    return ""


def _fault_of_tables(data: mmap.mmap, tables: tuple[int, int]) -> str:
    """Compare the sizes of a track's packets with the file, and their number with that in its chunks."""
    sizes, runs, chunks, far_chunks = (
        next(_boxes_at(data, tables, x), None) for x in (b"stsz", b"stsc", b"stco", b"co64")
    )
    chunks = chunks or far_chunks
    if sizes is None or runs is None or chunks is None:
        return ""
    if max(sizes[0] + 12, runs[0] + 8, chunks[0] + 8) > len(data):
        return "a table of its index is cut"
    one_size, count = _integers_at(data, sizes[0] + 4, 2)
    each = _integers_at(data, sizes[0] + 12, 0 if one_size else count)
    if max(each, default=0) > len(data):
        return "a packet in its index is larger than the file"
    (num_runs,), (num_chunks,) = _integers_at(data, runs[0] + 4, 1), _integers_at(data, chunks[0] + 4, 1)
    values = _integers_at(data, runs[0] + 8, 3 * num_runs)  # first chunk from 1, packets in each, description
    ends = [*values[3::3], num_chunks + 1]
    in_chunks = sum((end - first) * packets for first, packets, end in zip(values[::3], values[1::3], ends))
    return f"its index has {in_chunks} packets in chunks, and {count} sizes" if in_chunks < count else ""


def _integers_at(data: mmap.mmap, at: int, count: int) -> tuple[int, ...]:
    """Integers of 32 bits, as many as the file has."""
    count = max(0, min(count, (len(data) - at) // 4))
    return struct.unpack(f">{count}I", data[at : at + 4 * count])


def _boxes_at(data: mmap.mmap, inside: tuple[int, int], name: bytes, *names: bytes) -> Iterator[tuple[int, int]]:
    """First byte of the content, and the byte after it, of the boxes on a path of names."""
    for kind, begin, stop in _boxes(data, *inside):
        content = begin, min(stop, inside[1])
        if kind == name:
            yield from _boxes_at(data, content, *names) if names else [content]


def _boxes(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte of the content, and the byte after it, of the boxes that begin between two bytes."""
    while at + 8 <= end:
        length, begin = int.from_bytes(data[at : at + 4], "big"), at + 8
        if length == 1:
            length, begin = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        stop = end if length == 0 else at + length
        if stop < begin:
            return
        yield data[at + 4 : at + 8], begin, stop
        at = stop


def mpegts_is_cut(path: Path) -> bool:
    """True if an MPEG transport stream ends within a packet. Raises OSError."""
    with open(path, "rb") as f:
        head = f.read(5 * 204)
    for length, begin in ((188, 0), (192, 4), (204, 0)):
        if len(head) >= begin + 4 * length and all(head[begin + i * length] == 0x47 for i in range(4)):
            return os.path.getsize(path) % length != 0
    return False
