"""What is checked of the samples of a recording as they pass, and the error for a recording that cannot be used.

C channels, T samples.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.workflow.errors import DataError

SAMPLE_RATE = 16_000

_FULL_SCALE = 0.98
_MIN_CLIPPED_RUN = 3  # equal samples in a row near full scale that count as clipped


class AudioError(DataError):
    """A recording that cannot be used: the name of the failed check, a message with value and limit, what to do."""

    def __init__(self, check: str, message: str, remedy: str) -> None:
        super().__init__(f"{message}; {remedy}")
        self.check, self.message, self.remedy = check, message, remedy

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str, str]]:
        return AudioError, (self.check, self.message, self.remedy)


@dataclass(frozen=True)
class AudioReport:
    """What a complete read of a recording gives."""

    num_samples: int  # of a channel, at the recording's rate
    sampling_rate: int
    digest: str  # of the decoded samples, the same for WAV and FLAC
    peak: float  # largest absolute sample; full scale is 1
    clipped: float  # share of clipped samples


class SampleChecks:
    """Checks the samples of a recording in the order of time, and sums up what they are."""

    def __init__(self, path: Path, limits: AudioLimits) -> None:
        self.path, self.limits = path, limits
        self.num_samples = 0
        self.peak = 0.0
        self._rate = 0
        self._clipped = 0
        self._swing = 0.0  # half of the distance between the highest and the lowest sample of a channel
        self._highest = self._lowest = np.zeros(0, np.float32)
        self._digest = hashlib.sha256()

    def add(self, samples: NDArray[np.float32], rate: int, seconds: float) -> None:
        """Check the next samples.

        Args:
          samples: (C, T).
          rate: in Hz.
          seconds: where they begin in the recording.
        Raises:
          AudioError: a sample is not a number.
        """
        if not samples.shape[1]:
            return
        peak = float(np.abs(samples).max())
        if not np.isfinite(peak):
            first = seconds + int(np.flatnonzero(~np.isfinite(samples).all(axis=0))[0]) / rate
            raise AudioError(
                "not-a-number",
                f"{self.path} has samples that are not numbers, first at {first:.2f} s",
                "make the file again from its source",
            )
        highest, lowest = samples.max(axis=1), samples.min(axis=1)
        if len(highest) == len(self._highest):
            highest, lowest = np.maximum(highest, self._highest), np.minimum(lowest, self._lowest)
        self._highest, self._lowest = highest, lowest
        self._swing = max(self._swing, float((highest - lowest).max()) / 2)
        self.peak = max(self.peak, peak)
        self._clipped += num_clipped(samples[0])
        self._rate = self._rate or rate
        self.num_samples += samples.shape[1]
        self._digest.update(np.ascontiguousarray(samples.T).tobytes())

    @property
    def is_silent(self) -> bool:
        """True if the samples, whatever constant lies below them, do not reach limits.min_peak."""
        return self._swing < self.limits.min_peak

    def check_sound(self) -> None:
        """Raise AudioError if there are no samples, or nothing but silence."""
        if not self.num_samples:
            raise no_samples(self.path)
        if self.is_silent:
            raise AudioError(
                "silent",
                f"{self.path} is silent from beginning to end (peak {self._swing:g}, limit {self.limits.min_peak:g} of "
                "full scale)",
                "record it again or leave it out",
            )

    def report(self) -> AudioReport:
        """What all samples were; there must be some."""
        clipped = self._clipped / self.num_samples
        return AudioReport(self.num_samples, self._rate, self._digest.hexdigest(), self.peak, clipped)


def num_clipped(samples: NDArray[np.float32]) -> int:
    """The number of samples of (T,) that are in runs of at least three equal samples near full scale."""
    flat = (samples[1:] == samples[:-1]) & (np.abs(samples[1:]) >= _FULL_SCALE)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.view(np.int8), [0]])))
    runs = edges[1::2] - edges[::2] + 1
    return int(runs[runs >= _MIN_CLIPPED_RUN].sum())


def no_samples(path: Path) -> AudioError:
    """The error for a recording without a sample."""
    return AudioError("no-samples", f"{path} holds no samples, only a header", "restore it or leave it out")


def unreadable(path: Path, reason: object) -> AudioError:
    """The error for a file that cannot be read as audio."""
    text = " ".join(str(reason).split())
    return AudioError("unreadable", f"{path} cannot be read as audio ({text})", "restore it, or convert it to WAV")


def too_long(path: Path, what: str) -> AudioError:
    """The error for a recording that is longer than max_hours; `what` says how long."""
    return AudioError(
        "too-long",
        f"{path}: {what}, more than max_hours allows",
        "its header is wrong, or cut the recording into lectures (checks.max_hours of prep.yaml is the limit)",
    )


def cut_short(path: Path, what: str) -> AudioError:
    """The error for a recording of which a part is missing at the end; `what` says how much is there."""
    return AudioError(
        "cut-short",
        f"{path} {what}",
        "it was cut short: restore it; if there is no more of it, write what is there as a WAV (ffmpeg -i IN OUT.wav)",
    )


def damaged(path: Path, seconds: float, reason: object) -> AudioError:
    """The error for a recording that cannot be read from some second on."""
    text = " ".join(str(reason).split())
    return AudioError(
        "damaged",
        f"{path} is damaged after {seconds:.2f} s ({text})",
        "restore the file; if there is no other copy, write what can be read as a WAV (ffmpeg -i IN OUT.wav)",
    )
