"""How many bytes of samples the header of a WAV, W64, AIFF, CAF or AU file declares, and how many the file holds.

Programs that write to a pipe leave the size open: 0, or as large as it can be. Then all up to the end of the file is
read, as it is if what follows the declared end is neither chunks nor tags: such a header was written too early.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

_OPEN = ((0x7FFF0000, 0x80000000), (0xFFFF0000, 0x100000000))  # sizes that are no sizes, in 32 bits
_Order = Literal["little", "big"]  # of bytes
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")
_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE


@dataclass(frozen=True)
class Samples:
    """The chunk that holds the samples; sizes are in bytes."""

    dialect: str  # WAV, W64, AIFF, CAF or AU
    begin: int
    declared: int | None  # None: left open
    available: int  # from begin to the end of the file
    unexplained: int = 0  # behind the declared end, and neither chunks nor tags
    byte_rate: int = 0  # bytes a second; 0 if unknown
    block_align: int = 0  # bytes of one sample of all channels; 0 if samples are compressed or it is unknown
    contradiction: str = ""  # two values of the header that cannot both be true

    @property
    def declares_less(self) -> bool:
        """True if what lies behind the declared end is more than a scrap."""
        return self.unexplained > max(self.byte_rate // 10, self.block_align, 1)

    @property
    def num_samples(self) -> int:
        """Of a channel, by the header or, where it leaves that open, by the size of the file; 0 if unknown."""
        size = self.available if self.declared is None else self.declared
        return size // self.block_align if self.block_align else 0


def read_samples_chunk(path: Path) -> Samples | None:
    """The chunk with the samples; None if the file is of none of these forms, or has no such chunk.

    Raises:
      OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        head = f.read(40)
        if head[:4] in (b"RIFF", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            return _wav(f, size)
        if head[:4] == b"riff" and head[24:28] == b"wave":
            return _chunk_of(f, size, "W64", _w64_chunks(f, size), b"data")
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _chunk_of(f, size, "AIFF", _chunks(f, 12, size, "big"), b"SSND")
        if head[:4] == b"caff":
            return _chunk_of(f, size, "CAF", _caf_chunks(f, size), b"data")
        if head[:4] == b".snd":
            begin, declared = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
            return Samples("AU", begin, None if _is_open(declared) else declared, max(0, size - begin))
    return None


def _wav(f: BinaryIO, size: int) -> Samples | None:
    samples, large = None, None
    values: tuple[int, int, str] = (0, 0, "")
    chunks = _chunks(f, 12, size, "little")
    for name, begin, length in chunks:
        f.seek(begin)
        if name == b"ds64":
            large = int.from_bytes(f.read(16)[8:], "little")
        elif name == b"fmt ":
            values = _format(f.read(min(length, 40)))
        elif name == b"data":
            declared = large if large is not None and length == 0xFFFFFFFF else length
            is_open = _is_open(length) if large is None else not large or _is_open(large)
            samples = _with_rest(f, Samples("WAV", begin, None if is_open else declared, size - begin), size, "little")
            break
    if samples is None:
        return None
    contradiction = values[2]
    if samples.declared is not None and not samples.unexplained and any(name == b"data" for name, _, _ in chunks):
        contradiction = contradiction or "it has two chunks of samples"  # FFmpeg would read the last one alone
    return replace(samples, byte_rate=values[0], block_align=values[1], contradiction=contradiction)


def _format(content: bytes) -> tuple[int, int, str]:
    """Bytes a second, bytes of a sample of all channels (0 if compressed), and what contradicts itself."""
    if len(content) < 16:
        return 0, 0, ""
    tag, channels = int.from_bytes(content[:2], "little"), int.from_bytes(content[2:4], "little")
    rate, byte_rate = int.from_bytes(content[4:8], "little"), int.from_bytes(content[8:12], "little")
    align, bits = int.from_bytes(content[12:14], "little"), int.from_bytes(content[14:16], "little")
    if tag == _EXTENSIBLE and len(content) >= 26:
        tag = int.from_bytes(content[24:26], "little")
    if tag not in (_PCM, _FLOAT, _ALAW, _MULAW):
        return byte_rate, 0, ""
    width = 1 if tag in (_ALAW, _MULAW) else (bits + 7) // 8
    contradiction = ""
    if align != channels * width:
        contradiction = f"{channels} channels of {bits} bits are not {align} bytes a sample"
    elif byte_rate not in (0, rate * align):
        contradiction = f"{rate} Hz of {align} bytes a sample are not {byte_rate} bytes a second"
    return rate * align, align, contradiction


def _chunk_of(
    f: BinaryIO, size: int, dialect: str, chunks: Iterator[tuple[bytes, int, int]], wanted: bytes
) -> Samples | None:
    for name, begin, length in chunks:
        if name == wanted:
            is_open = length < 0 or _is_open(length)
            samples = Samples(dialect, begin, None if is_open else length, size - begin)
            return _with_rest(f, samples, size, "big") if dialect == "AIFF" else samples
    return None


def _with_rest(f: BinaryIO, samples: Samples, size: int, order: _Order) -> Samples:
    """The same, with the number of bytes behind the declared end that are neither chunks nor tags."""
    if samples.declared is None or samples.declared >= samples.available:
        return samples
    end = samples.begin + samples.declared
    rest = next((at for at in (end + end % 2, end) if _is_explained(f, at, size, order)), None)
    return samples if rest is not None else replace(samples, unexplained=size - end)


def _is_explained(f: BinaryIO, at: int, size: int, order: _Order) -> bool:
    """True if all from byte `at` to the end of the file is chunks, or a tag, or at most a padding byte."""
    while size - at > 1:
        f.seek(at)
        head = f.read(12)
        if head.startswith(_TAGS):
            return True
        name, length = head[:4], int.from_bytes(head[4:8], order)
        if len(head) < 8 or not all(32 <= c < 127 for c in name) or at + 8 + length > size:
            return False
        at += 8 + length + length % 2
    return True


def _chunks(f: BinaryIO, at: int, size: int, order: _Order) -> Iterator[tuple[bytes, int, int]]:
    """(name, first byte of the content, its declared length) of the chunks of RIFF (little) and IFF (big)."""
    while at + 8 <= size:
        f.seek(at)
        head = f.read(8)
        length = int.from_bytes(head[4:], order)
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def _w64_chunks(f: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """As _chunks: names are GUIDs whose first four bytes are the name, lengths count their own head of 24 bytes."""
    at = 40
    while at + 24 <= size:
        f.seek(at)
        head = f.read(24)
        length = int.from_bytes(head[16:], "little")
        yield head[:4], at + 24, length - 24
        at += max(24, length + -length % 8)


def _caf_chunks(f: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    at = 8
    while at + 12 <= size:
        f.seek(at)
        head = f.read(12)
        length = int.from_bytes(head[4:], "big", signed=True)
        yield head[:4], at + 12, length
        if length < 0:
            return
        at += 12 + length


def _is_open(length: int) -> bool:
    return length == 0 or length >= 1 << 62 or any(first <= length < end for first, end in _OPEN)
