"""Finding known pieces of sound in a long recording, sample for sample.

The first PREFIX samples of a piece are hashed as a polynomial modulo 2^64, which can be rolled along a recording (Karp
and Rabin, 1987); what has the hash of a piece is held against its whole digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PREFIX = 1600  # samples (0.1 s); a shorter piece cannot be found
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_BLOCK = 1 << 20  # samples rolled over at once


@dataclass(frozen=True)
class Piece:
    """A known piece of sound."""

    id: str
    num_samples: int
    digest: str  # of its samples, int16


@dataclass(frozen=True)
class Found:
    """Where a piece lies in a recording, in samples."""

    id: str
    begin: int
    end: int


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """(T,) samples in [-1, 1] as 16-bit integers, as they are stored; NaN becomes 0."""
    return np.clip(np.rint(np.nan_to_num(samples) * 32768.0), -32768, 32767).astype(np.int16)


def digest_of(pcm: NDArray[np.int16]) -> str:
    """Digest of (T,) samples."""
    return hashlib.sha256(pcm.tobytes()).hexdigest()


def prefix_hash(pcm: NDArray[np.int16]) -> int:
    """Hash of the first PREFIX of (T,) samples; 0 where there are fewer."""
    return int(_hashes(pcm[:PREFIX])[0]) if len(pcm) >= PREFIX else 0


def find_pieces(pcm: NDArray[np.int16], pieces: Mapping[int, Sequence[Piece]]) -> list[Found]:
    """Pieces in a recording, from left to right, none overlapping; of two that fit at one place, the longer.

    Args:
      pcm: (T,) the recording.
      pieces: by prefix_hash.
    """
    keys = np.array(sorted(pieces), dtype=np.uint64)
    found: list[Found] = []
    at = 0
    while at + PREFIX <= len(pcm):
        piece = _piece_at(pcm, at, prefix_hash(pcm[at : at + PREFIX]), pieces)
        if piece is None:  # not back to back: look further on
            step = _next_piece(pcm, at + 1, keys, pieces)
            if step is None:
                break
            at, piece = step
        found.append(Found(piece.id, at, at + piece.num_samples))
        at += piece.num_samples
    return found


def _next_piece(
    pcm: NDArray[np.int16], begin: int, keys: NDArray[np.uint64], pieces: Mapping[int, Sequence[Piece]]
) -> tuple[int, Piece] | None:
    for first in range(begin, len(pcm) - PREFIX + 1, _BLOCK):
        hashes = _hashes(pcm[first : first + _BLOCK + PREFIX - 1])
        for i in np.flatnonzero(np.isin(hashes, keys)):
            piece = _piece_at(pcm, first + int(i), int(hashes[i]), pieces)
            if piece is not None:
                return first + int(i), piece
    return None


def _piece_at(pcm: NDArray[np.int16], at: int, key: int, pieces: Mapping[int, Sequence[Piece]]) -> Piece | None:
    for piece in sorted(pieces.get(key, ()), key=lambda p: -p.num_samples):
        sound = pcm[at : at + piece.num_samples]
        if len(sound) == piece.num_samples and digest_of(sound) == piece.digest:
            return piece
    return None


def _hashes(pcm: NDArray[np.int16]) -> NDArray[np.uint64]:
    """(T,) -> (T - PREFIX + 1,): sum over j of (x[i+j] + 32769) * BASE^j, modulo 2^64."""
    powers, inverses = (_powers(b, len(pcm)) for b in (_BASE, _INVERSE))
    values = (pcm.astype(np.int64) + 32769).astype(np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * powers, dtype=np.uint64)])
    return (sums[PREFIX:] - sums[:-PREFIX]) * inverses[: len(pcm) - PREFIX + 1]


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count - 1, base, np.uint64)]), dtype=np.uint64)
