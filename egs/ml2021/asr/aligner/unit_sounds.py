"""A model of how each unit sounds in one recording, fitted in a second to labels that may be partly wrong.

A unit is a Gaussian over a tenth of a second of cepstra, and all units share one covariance, so that log-probs are
linear in the features (Fisher 1936). There are few parameters: errors of the labels cancel where they are as often
early as late, and an hour of one speaker is plenty.

Legend: T frames of 20 ms, C cepstra, D features of a frame, V units with silence (0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.config import FRAME_SHIFT

STEP = 2  # feature frames of 10 ms that a frame covers
FRAME = STEP * FRAME_SHIFT  # samples
_CONTEXT = 5  # feature frames on both sides
_NUM_CEPSTRA = 20
_BLOCK = 5000  # frames in memory at a time
_PRIOR = 20.0  # frames of speech of any unit that are added to each unit's
_RIDGE = 0.01  # of the mean variance, added to each
_SCALE = 0.3  # of log-probs: neighbouring frames say nearly the same
_CLOSED = -20.0  # log-prob of speech where there can be none


def cepstra(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(10 ms frames, mel bins) -> (10 ms frames, C), with mean 0 and variance 1 over the recording."""
    num_mels = features.shape[1]
    angles = np.pi * (np.arange(num_mels) + 0.5)[:, None] * np.arange(_NUM_CEPSTRA) / num_mels
    raw = features @ np.cos(angles).astype(np.float32)
    normalised: NDArray[np.float32] = (raw - raw.mean(0)) / (raw.std(0) + 1e-6)
    return normalised


def num_frames(frames: NDArray[np.float32]) -> int:
    """T of cepstra."""
    return -(-len(frames) // STEP)


class UnitSounds:
    """The sounds of the units, with the silence between them as unit 0."""

    def __init__(self, weights: NDArray[np.float32]) -> None:
        self.weights = weights  # (D + 1, V), the last row is a constant

    @classmethod
    def fit(cls, frames: NDArray[np.float32], labels: NDArray[np.int64], num_units: int) -> UnitSounds:
        """
        Args:
          frames: of `cepstra`.
          labels: (T,) the unit of each frame; -1 for unknown.
          num_units: V. A unit without frames sounds like speech in general.
        """
        size = _NUM_CEPSTRA * (2 * _CONTEXT + 1)
        counts, sums, squares = np.zeros(num_units), np.zeros((num_units, size)), np.zeros((size, size))
        for begin in range(0, len(labels), _BLOCK):
            part = labels[begin : begin + _BLOCK]
            x, y = _spliced(frames, begin, begin + len(part))[part >= 0], part[part >= 0]
            is_unit = (y[:, None] == np.arange(num_units)).astype(np.float32)
            counts += is_unit.sum(0)
            sums += is_unit.T @ x
            squares += x.T @ x
        speech = sums[1:].sum(0) / max(1.0, counts[1:].sum())
        means = (sums + _PRIOR * speech) / (counts + _PRIOR)[:, None]
        means[0] = sums[0] / max(1.0, counts[0])
        within = (squares - (sums / np.maximum(counts, 1.0)[:, None]).T @ sums) / max(1.0, counts.sum())
        within += (_RIDGE * np.trace(within) / size + 1e-6) * np.eye(size)
        weights = np.linalg.solve(within, means.T)
        constant = -0.5 * (means.T * weights).sum(0)
        return cls(_SCALE * np.concatenate([weights, constant[None]]).astype(np.float32))

    def log_probs(
        self, frames: NDArray[np.float32], may_speak: NDArray[np.bool_], begin: int, end: int
    ) -> NDArray[np.float32]:
        """(end - begin, V) log-probs of some frames, of silence where there can be no word of the text.

        Args:
          frames: of `cepstra`.
          may_speak: (T,).
          begin, end: of T.
        """
        scores: NDArray[np.float32] = _spliced(frames, begin, end) @ self.weights[:-1] + self.weights[-1]
        scores -= scores.max(1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(1, keepdims=True))
        is_closed = ~may_speak[begin:end]
        scores[is_closed] = _CLOSED
        scores[is_closed, 0] = 0.0
        return scores


def _spliced(frames: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
    """(end - begin, D), each frame with its neighbours."""
    places = STEP * np.arange(begin, end)[:, None] + np.arange(-_CONTEXT, _CONTEXT + 1)
    spliced: NDArray[np.float32] = frames[np.clip(places, 0, len(frames) - 1)].reshape(end - begin, -1)
    return spliced
