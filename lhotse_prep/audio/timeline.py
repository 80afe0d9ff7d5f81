"""Puts frames where their timestamps say: silence where a recording starts late or has a hole, nothing said twice.

C channels, T samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.decode import Frame, Track
from lhotse_prep.audio.inspect import AudioError, too_long

_MAX_PRIMING = 0.2  # seconds that an encoder puts before the sound, and an edit list leaves out
_TOLERANCE = 0.05  # seconds that a frame may be off its place: timestamps are rounded
_MAX_OVERLAP = 0.2  # seconds that a frame may begin before the one before it has ended
_MAX_DRIFT = 0.02  # share of a recording that is put in or left out because its clock and its samples drift apart
_MAX_JUMP = 3600.0  # seconds, where the clock may begin again
_PIECE = 10.0  # seconds of silence at a time


class Timeline:
    """Places the frames of one track, once."""

    def __init__(self, track: Track, limits: AudioLimits) -> None:
        self.track, self.limits = track, limits
        self.position = 0.0  # seconds that have been placed
        self._gaps: list[tuple[float, float]] = []  # place and length of each, in seconds
        self._left_out: list[tuple[float, float]] = []
        self._restarts: list[float] = []
        self._drift = 0.0
        self._offset = 0.0  # seconds added to timestamps since the clock began again
        self._deviation = 0.0  # of the last frame
        self._has_begun = False

    @property
    def _path(self) -> Path:
        return self.track.path

    def place(self, frames: Iterable[Frame]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield (rate, samples (C, T)) in order of time, with silence put in.

        Raises:
          AudioError: timestamps go back, contradict the samples, or make the recording longer than max_hours.
        """
        iterator = iter(frames)
        frame = next(iterator, None)
        while frame is not None:
            following = next(iterator, None)
            yield from self._placed(frame, following)
            frame = following
        if self._drift > _MAX_DRIFT * self.position + 2 * _TOLERANCE:
            raise AudioError(
                "timestamps",
                f"{self._path}: its timestamps and its samples drift apart by {self._drift:.2f} s in "
                f"{self.position:.2f} s",
                "write it again as a WAV (ffmpeg -i IN OUT.wav) and listen to it",
            )

    def notes(self) -> list[str]:
        """What was put in or left out, for the log."""
        notes = []
        if self._gaps:
            total, (first, _) = sum(length for _, length in self._gaps), self._gaps[0]
            places = f"at {first:.2f} s" if len(self._gaps) == 1 else f"at {len(self._gaps)} places from {first:.2f} s"
            notes.append(f"{total:.2f} s of silence put in {places}, where its timestamps leave a hole")
        if self._left_out:
            total, (first, _) = sum(length for _, length in self._left_out), self._left_out[0]
            notes.append(f"{total:.2f} s left out from {first:.2f} s on, where its timestamps overlap")
        if self.track.edited_out > _MAX_PRIMING:
            notes.append(f"{self.track.edited_out:.2f} s left out by its edit list")
        if self._restarts:
            times = ", ".join(f"{t:.2f} s" for t in self._restarts[:3])
            more = f" and {len(self._restarts) - 3} more times" if len(self._restarts) > 3 else ""
            notes.append(f"its clock begins again at {times}{more}, and what follows was joined")
        return notes

    def _placed(self, frame: Frame, following: Frame | None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        rate, samples = frame.rate, frame.samples
        shift = self._shift(frame, following)
        if shift > 0:
            for silence in self._silence(shift, rate, len(samples)):
                yield rate, silence
        if shift < 0:  # what is left over of it, the next frame's timestamp says again
            samples = samples[:, round(-shift * rate) :]
        self.position += samples.shape[1] / rate
        self._has_begun = self._has_begun or samples.shape[1] > 0
        if self.position > self.limits.max_hours * 3600:
            raise too_long(self._path, f"it decodes to more than {self.position / 3600:.1f} h")
        if samples.shape[1]:
            yield rate, samples

    def _shift(self, frame: Frame, following: Frame | None) -> float:
        """Seconds of silence before a frame (> 0) or to be left out of it (< 0)."""
        if frame.time is None:
            return 0.0
        deviation = frame.time + self._offset - self.position
        if not self._has_begun:
            if deviation > _TOLERANCE:
                self._gaps.append((0.0, deviation))
            return deviation
        if abs(deviation) <= _TOLERANCE or self._is_jitter(frame, following):
            self._deviation = deviation
            return 0.0
        drifts, self._deviation = abs(self._deviation) > _TOLERANCE / 2, 0.0
        if drifts:
            self._drift += abs(deviation)
        if deviation > 0:
            if self.track.restarts and deviation > _MAX_JUMP:
                raise self._jump(f"jump from {self.position:.2f} s by {deviation:.0f} s")
            self._gaps.append((self.position, deviation))
            return deviation
        if -deviation > _MAX_OVERLAP and not drifts:
            if not self.track.restarts:
                raise self._jump(f"go back by {-deviation:.2f} s at {self.position:.2f} s")
            self._offset -= deviation
            self._restarts.append(self.position)
            return 0.0
        self._left_out.append((self.position, -deviation))
        return deviation

    def _is_jitter(self, frame: Frame, following: Frame | None) -> bool:
        """True if the next frame is where it would be if this one were in its place."""
        if following is None or following.time is None:
            return False
        expected = self.position + frame.samples.shape[1] / frame.rate
        return bool(abs(following.time + self._offset - expected) <= _TOLERANCE)

    def _silence(self, seconds: float, rate: int, channels: int) -> Iterator[NDArray[np.float32]]:
        if self.position + seconds > self.limits.max_hours * 3600:
            raise too_long(self._path, f"its timestamps jump from {self.position:.2f} s by {seconds / 3600:.1f} h")
        left = round(seconds * rate)
        self.position += left / rate
        while left > 0:
            num_samples = min(left, round(_PIECE * rate))
            yield np.zeros((channels, num_samples), np.float32)
            left -= num_samples

    def _jump(self, what: str) -> AudioError:
        return AudioError(
            "timestamps",
            f"{self._path}: its timestamps {what}",
            "write it again as a WAV (ffmpeg -i IN OUT.wav) and listen to it",
        )
