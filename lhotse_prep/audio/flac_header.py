"""STREAMINFO of a FLAC file (RFC 9639, 8.2): what it says of its samples, among it their MD5."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.raw_frames import after_id3


@dataclass(frozen=True)
class FlacHeader:
    """Values of STREAMINFO."""

    sampling_rate: int
    channels: int
    bits: int  # of a sample
    num_samples: int  # of a channel; 0: unknown
    md5: bytes  # of all samples; 16 zeros: unknown

    @property
    def has_md5(self) -> bool:
        """False if the program that wrote the file did not compute it."""
        return any(self.md5)


def read_flac_header(path: Path) -> FlacHeader | None:
    """The header of a FLAC file; None if the file is of another form. Raises OSError."""
    with open(path, "rb") as f:
        f.seek(after_id3(f.read(10)))
        head = f.read(42)
    if head[:4] != b"fLaC" or len(head) < 42 or head[4] & 0x7F != 0:
        return None
    values = int.from_bytes(head[18:26], "big")  # 20 bits rate, 3 channels - 1, 5 bits - 1, 36 number of samples
    return FlacHeader(
        values >> 44, (values >> 41 & 7) + 1, (values >> 36 & 31) + 1, values & (1 << 36) - 1, head[26:42]
    )


class FlacDigest:
    """The MD5 of samples as FLAC defines it: interleaved, signed, little-endian, in whole bytes."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._md5 = hashlib.md5(usedforsecurity=False)

    def add(self, samples: NDArray[np.integer]) -> None:
        """The next samples, (T, C), 16-bit or 32-bit, aligned to the left."""
        width = (self._bits + 7) // 8
        values = samples >> (8 * samples.itemsize - self._bits)
        if width in (1, 2, 4):
            self._md5.update(values.astype(f"<i{width}").tobytes())
        else:
            raw = np.ascontiguousarray(values.astype("<i4")).view(np.uint8).reshape(-1, 4)
            self._md5.update(raw[:, :width].tobytes())

    def digest(self) -> bytes:
        """Of all samples so far."""
        return self._md5.digest()
