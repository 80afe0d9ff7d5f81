"""Finds known pieces of sound in a long recording, exact to the sample.

The first PREFIX samples of a piece are hashed as a polynomial modulo 2^64, which can be rolled along a recording (Karp
and Rabin, 1987). Where the hash of a piece occurs, the digest of all its samples is compared.

T samples of a recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.workflow.digests import digest_bytes

PREFIX = 1600  # samples (0.1 s); a shorter piece cannot be found
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_BLOCK = 1 << 20  # samples hashed at once


@dataclass(frozen=True)
class Piece:
    """A known piece of sound."""

    id: str
    num_samples: int
    digest: str  # digest_of its samples


@dataclass(frozen=True)
class PiecePlace:
    """Where a piece lies in a recording, in samples."""

    id: str
    begin: int
    end: int


def to_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    """(T,) samples in [-1, 1] as 16-bit integers, as 16-bit files store them; NaN becomes 0."""
    pcm: NDArray[np.int16] = np.clip(np.rint(np.nan_to_num(samples) * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def digest_of(pcm: NDArray[np.int16]) -> str:
    """SHA-256 of (T,) samples."""
    return digest_bytes(pcm.tobytes())


def prefix_hash(pcm: NDArray[np.int16]) -> int:
    """Hash of the first PREFIX of (T,) samples; 0 if there are fewer."""
    return int(_hashes(pcm[:PREFIX])[0]) if len(pcm) >= PREFIX else 0


def find_pieces(pcm: NDArray[np.int16], pieces: Mapping[int, Sequence[Piece]]) -> list[PiecePlace]:
    """The places of pieces in a recording, from left to right, without overlaps.

    If two pieces fit at one place, the longer one is taken.

    Args:
      pcm: (T,), the recording.
      pieces: {prefix_hash: pieces}.
    """
    keys = np.array(sorted(pieces), dtype=np.uint64)
    places: list[PiecePlace] = []
    at = 0
    while at + PREFIX <= len(pcm):
        piece = _piece_at(pcm, at, prefix_hash(pcm[at : at + PREFIX]), pieces)
        if piece is None:  # no piece begins here: search on
            next_piece = _next_piece(pcm, at + 1, keys, pieces)
            if next_piece is None:
                break
            at, piece = next_piece
        places.append(PiecePlace(piece.id, at, at + piece.num_samples))
        at += piece.num_samples
    return places


def _next_piece(
    pcm: NDArray[np.int16], begin: int, keys: NDArray[np.uint64], pieces: Mapping[int, Sequence[Piece]]
) -> tuple[int, Piece] | None:
    """The first piece that begins at or after sample `begin`, and where; `keys` are the hashes of all pieces."""
    for first in range(begin, len(pcm) - PREFIX + 1, _BLOCK):
        hashes = _hashes(pcm[first : first + _BLOCK + PREFIX - 1])
        for i in np.flatnonzero(np.isin(hashes, keys)):
            piece = _piece_at(pcm, first + int(i), int(hashes[i]), pieces)
            if piece is not None:
                return first + int(i), piece
    return None


def _piece_at(pcm: NDArray[np.int16], at: int, key: int, pieces: Mapping[int, Sequence[Piece]]) -> Piece | None:
    """The longest piece that begins at sample `at`, where the prefix hash is `key`; None if there is none."""
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
    hashes: NDArray[np.uint64] = (sums[PREFIX:] - sums[:-PREFIX]) * inverses[: len(pcm) - PREFIX + 1]
    return hashes


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    """(count,), base^0, base^1, ... modulo 2^64."""
    return np.cumprod(np.concatenate([np.ones(1, np.uint64), np.full(count - 1, base, np.uint64)]), dtype=np.uint64)
