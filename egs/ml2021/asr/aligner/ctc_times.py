"""Aligns one lecture after the other with a CTC model, which each process loads once.

On a GPU the log-probs of several lectures are computed together.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.alignment.confidence import RECOGNISED, part_recognised
from lhotse_prep.alignment.config import FaultConfig
from lhotse_prep.alignment.lecture_times import LectureTimes
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.units_to_words import align_words
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.acoustic import Acoustic, FeatureAcoustic, load_acoustic
from ml2021.asr.aligner.prepared import Frames, PreparedLecture

logger = logging.getLogger(__name__)
_ENOUGH_WORDS = 50  # of a lecture, from which the part that is recognised tells a wrong transcript
Blocks = Iterator[NDArray[np.float32]]


@dataclass(frozen=True)
class CtcTimes:
    """Times of a lecture's words as a model emits them; for time_each, in any process."""

    model: Path
    device: str
    faults: FaultConfig | None  # the costs of faults in the transcript; None: it is exact
    weights: Path | None = None  # see load_acoustic
    least_timed: float = 0.0  # part of a transcript's words that the model must time
    least_recognised: float = 0.0  # part of them that it must recognise (part_recognised), where there are enough
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # of the loaded model: files may change between runs

    def __call__(self, lecture: Lecture | PreparedLecture) -> LectureTimes:
        """
        Raises:
          DataError: the model cannot be read, or see align_words; or it times or recognises too few of the words.
        """
        acoustic = self._acoustic()
        if isinstance(lecture, PreparedLecture):
            assert isinstance(acoustic, FeatureAcoustic)
            return self._aligned(lecture, acoustic.feature_blocks(lecture.features), lecture.regions)
        samples = lecture.samples()
        regions = speech_regions(samples, lecture.id)
        return self._aligned(lecture, acoustic.blocks(samples), regions)

    @property
    def is_batched(self) -> bool:
        """Whether `together` is quicker than one lecture after the other."""
        return torch.device(self.device).type != "cpu" and isinstance(self._acoustic(), FeatureAcoustic)

    def together(self, lectures: Iterable[Lecture | PreparedLecture]) -> Iterator[LectureTimes]:
        """The times of each lecture in order, with pieces of several lectures in one pass of the model."""
        acoustic = self._acoustic()
        assert isinstance(acoustic, FeatureAcoustic)
        opened: deque[tuple[Lecture | PreparedLecture, NDArray[np.int64]]] = deque()

        def features() -> Iterator[Frames]:
            for x in lectures:
                if isinstance(x, PreparedLecture):
                    opened.append((x, x.regions))
                    yield x.features
                else:
                    samples = x.samples()
                    opened.append((x, speech_regions(samples, x.id)))
                    yield fbank(samples)

        for blocks in acoustic.batched_blocks(features()):
            lecture, regions = opened.popleft()
            yield self._aligned(lecture, blocks, regions)

    def _acoustic(self) -> Acoustic:
        return _loaded(self.token, self.model, self.weights, self.device)

    def _aligned(self, lecture: Lecture | PreparedLecture, blocks: Blocks, regions: NDArray[np.int64]) -> LectureTimes:
        acoustic = self._acoustic()
        units = acoustic.encode(lecture.words)
        times = align_words(blocks, units, lecture.id, acoustic.frame, self.faults)
        self._check(lecture, times)
        return LectureTimes(times, regions, np.array([max(1, len(u)) for u in units]))

    def _check(self, lecture: Lecture | PreparedLecture, times: WordTimes) -> None:
        """Raise DataError if the transcript is hardly what is said in the recording."""
        timed = float(np.isfinite(times.start).mean())
        if timed < self.least_timed:
            raise DataError(
                f"lecture {lecture.id}: {self.model} recognises only {timed:.1%} of its transcript, under "
                f"{self.least_timed:.0%}; is this the transcript of another recording, or the model of another "
                "language?"
            )
        recognised = part_recognised(times)
        if len(times.start) >= _ENOUGH_WORDS and recognised < self.least_recognised:
            raise DataError(
                f"lecture {lecture.id}: {self.model} recognises only {recognised:.1%} of its {len(times.start)} words "
                f"with a confidence of {RECOGNISED:g}, under {self.least_recognised:.0%}: the transcript is that of "
                "another recording, or the model does not know this voice or language; correct the transcript, or "
                "align without --aligner-model, which trains on the lectures themselves"
            )


@functools.lru_cache(maxsize=2)
def _loaded(token: str, model: Path, weights: Path | None, device: str) -> Acoustic:
    return load_acoustic(model, torch.device(device), weights)
