"""What there is to align: the lectures of stage 1's manifests one by one, and the exact times of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from lhotse import Recording, RecordingSet, SupervisionSegment, SupervisionSet
from numpy.typing import NDArray

from lhotse_prep.audio.config import AudioLimits
from lhotse_prep.audio.gate import read_samples
from lhotse_prep.corpora.source.splits import PARTS
from lhotse_prep.manifests.exact_times import read_exact_times
from lhotse_prep.manifests.faults import supervision_faults
from lhotse_prep.manifests.fields import SUPERVISION
from lhotse_prep.manifests.files import AUDIO, open_part, part_file, read_items
from lhotse_prep.manifests.safety import plain_audio
from lhotse_prep.workflow.digests import digest_json
from lhotse_prep.workflow.errors import DataError

_VALIDATE = "check the manifests (python -m lhotse_prep validate)"


@dataclass(frozen=True)
class Lecture:
    """A recording to align, with its transcript."""

    supervision: SupervisionSegment  # of the whole recording
    audio: Path
    part: str  # one of PARTS

    @property
    def id(self) -> str:
        """The supervision's id."""
        return str(self.supervision.id)

    @property
    def words(self) -> list[str]:
        """The transcript's units.

        Raises:
          DataError: there are none.
        """
        words = (self.supervision.text or "").split()
        if not words:
            raise DataError(f"lecture {self.id}: its transcript is empty, there is nothing to align")
        return words

    def samples(self) -> NDArray[np.float32]:
        """The recording at 16 kHz, (num_samples,), read and checked again at each call; raises AudioError."""
        return read_samples(self.audio, AudioLimits())

    def content(self) -> str:
        """A digest of the transcript and of the size and time of the recording's file: what its times depend on."""
        try:
            stat = self.audio.stat()
        except OSError:  # whoever reads it says so
            return ""
        return digest_json([self.supervision.text, self.supervision.duration, stat.st_size, stat.st_mtime_ns])


class Lectures:
    """The lectures of stage 1's manifests that have no exact times; each iteration reads the manifests again."""

    def __init__(self, manifests: Path, exact: Mapping[str, ExactTimes]) -> None:
        """
        Args:
          manifests: stage 1's folder.
          exact: of each part.
        """
        self._manifests, self._exact = manifests, exact
        self._audio: dict[str, dict[str, Path]] = {}  # of the recordings of each part

    def __iter__(self) -> Iterator[Lecture]:
        for part in PARTS:
            exact = self._exact[part].num_words
            audio = self._audio.get(part)
            if audio is None:
                recordings = open_part(self._manifests, "recordings", part, RecordingSet, AUDIO)
                audio = self._audio[part] = {r.id: plain_audio(r) for r in recordings if r.id not in exact}
            for s in open_part(self._manifests, "supervisions", part, SupervisionSet):
                if s.recording_id in exact:
                    continue
                if s.recording_id not in audio:
                    raise DataError(f"supervision {s.id} ({part}): there is no recording {s.recording_id}; {_VALIDATE}")
                yield Lecture(s, audio[s.recording_id], part)

    def check(self) -> int:
        """The number of lectures.

        Raises:
          DataError: a manifest is missing or damaged, a recording is missing, or two lectures have the same id.
        """
        parts: dict[str, str] = {}
        for x in self:
            if x.id in parts:
                raise DataError(f"there are two supervisions {x.id} (in {parts[x.id]} and {x.part}); {_VALIDATE}")
            parts[x.id] = x.part
        return len(parts)


class ExactTimes:
    """The recordings of a part whose utterances have exact times, and the supervisions of these utterances."""

    def __init__(self, manifests: Path, part: str) -> None:
        """
        Raises:
          DataError: the manifest is damaged, or the times are not within the recordings.
        """
        self._manifests, self._part = manifests, part
        self._path = part_file(manifests, "segments", part)
        self.num_words: dict[str, int] = {}  # of each recording
        self._is_grouped = True  # whether the supervisions of a recording are beside each other
        if self._path.is_file():
            recordings = open_part(manifests, "recordings", part, RecordingSet, AUDIO)
            self._check({r.id: r for r in recordings})

    def __iter__(self) -> Iterator[tuple[str, list[SupervisionSegment]]]:
        """(recording, its supervisions), read from the manifest again each time."""
        if not self._is_grouped:
            yield from read_exact_times(self._manifests, self._part).items()
            return
        for recording, segments in groupby(self._segments(), key=lambda s: s.recording_id):
            yield recording, list(segments)

    def _segments(self) -> Iterator[SupervisionSegment]:
        return read_items(self._path, SUPERVISION) if self._path.is_file() else iter(())

    def _check(self, recordings: Mapping[str, Recording]) -> None:
        strange, first_fault, num_faults, before = set(), None, 0, ""
        for s in self._segments():
            name = s.recording_id
            self._is_grouped &= name == before or name not in self.num_words
            self.num_words[name] = self.num_words.get(name, 0) + len((s.text or "").split())
            before = name
            if name not in recordings:
                strange.add(name)
                continue
            faults = supervision_faults(self._part, s, recordings[name])
            first_fault = first_fault or next(iter(faults), None)
            num_faults += len(faults)
        if strange:
            raise DataError(
                f"{self._part}: there are exact times of {min(strange)}, but there is no such recording; {_VALIDATE}"
            )
        if first_fault is not None:
            more = f" ({num_faults - 1} more such faults)" if num_faults > 1 else ""
            raise DataError(f"{self._path}: {first_fault}{more}")
