"""Aligns one lecture after the other with a CTC model, which each process loads once.

On a GPU the log-probs of several lectures are computed together.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.alignment.confidence import part_recognised
from lhotse_prep.alignment.config import FaultConfig
from lhotse_prep.alignment.lecture_times import LectureTimes
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.units_to_words import align_words
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.aligner.acoustic import Acoustic, FeatureAcoustic, load_acoustic
from ml2021.asr.aligner.kept_log_probs import Blocks, KeptLogProbs
from ml2021.asr.aligner.prepared import Frames, PreparedLecture

logger = logging.getLogger(__name__)
# Times the mean score of the words in reverse order. Measured with aligners of one clean voice: texts of other lectures
# 0.97 to 1.12, with the same phrases in both 1.25 to 1.36; right texts 3.9 to 4.2, in noise, in a room or on the
# telephone 1.5 to 2.7; of an unknown voice 1.0.
MIN_CONTRAST = 1.45
_ENOUGH_WORDS = 50  # of a lecture, from which its mean score tells a wrong transcript
_CLEARLY_RECOGNISED = 0.5  # part of the words; of a wrong transcript, at most 0.3 were recognised
# Part of the words; of right texts in loud rooms 0.28 to 0.55, on a telephone 0.01, and half of them had no time.
_HARDLY_RECOGNISED = 0.05


@dataclass(frozen=True)
class CtcTimes:
    """Times of a lecture's words as a model emits them; for time_each, in any process."""

    model: Path
    device: str
    faults: FaultConfig | None  # the costs of faults in the transcript; None: it is exact
    weights: Path | None = None  # see load_acoustic
    least_timed: float = 0.0  # part of a transcript's words that the model must time
    # times the mean score of the same words in reverse order that the mean score must be; 0: does not matter
    least_contrast: float = 0.0
    kept: KeptLogProbs | None = None  # those of this model
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # of the loaded model: files may change between runs

    def __call__(self, lecture: Lecture | PreparedLecture) -> LectureTimes:
        """
        Raises:
          DataError: the model cannot be read, or see align_words; or it recognises hardly any of the words.
        """
        acoustic = self._acoustic()
        if isinstance(lecture, PreparedLecture):
            assert isinstance(acoustic, FeatureAcoustic)
            compute: Callable[[], Blocks] = functools.partial(acoustic.feature_blocks, lecture.features)
            if self.kept is not None:
                compute = functools.partial(self.kept.blocks, lecture, compute)
            return self._aligned(lecture, lecture.regions, compute)
        samples = lecture.samples()
        regions = speech_regions(samples, lecture.id)
        return self._aligned(lecture, regions, lambda: acoustic.blocks(samples))

    @property
    def is_batched(self) -> bool:
        """Whether `together` is quicker than one lecture after the other."""
        return torch.device(self.device).type != "cpu" and isinstance(self._acoustic(), FeatureAcoustic)

    def together(self, lectures: Iterable[Lecture | PreparedLecture]) -> Iterator[LectureTimes]:
        """The times of each lecture in order, with pieces of several lectures in one pass of the model."""
        acoustic = self._acoustic()
        assert isinstance(acoustic, FeatureAcoustic)
        opened: deque[tuple[Lecture | PreparedLecture, NDArray[np.int64], Frames]] = deque()

        def features() -> Iterator[Frames]:
            for x in lectures:
                if isinstance(x, PreparedLecture):
                    opened.append((x, x.regions, x.features))
                else:
                    samples = x.samples()
                    opened.append((x, speech_regions(samples, x.id), fbank(samples)))
                yield opened[-1][2]

        for blocks in acoustic.batched_blocks(features()):
            lecture, regions, frames = opened.popleft()
            yield self._aligned(lecture, regions, functools.partial(acoustic.feature_blocks, frames), blocks)

    def _acoustic(self) -> Acoustic:
        return _loaded(self.token, self.model, self.weights, self.device)

    def _aligned(
        self,
        lecture: Lecture | PreparedLecture,
        regions: NDArray[np.int64],
        compute: Callable[[], Blocks],
        blocks: Blocks | None = None,
    ) -> LectureTimes:
        """Times by the log-probs that `compute` gives, or by `blocks` if they are there already."""
        acoustic = self._acoustic()
        units = acoustic.encode(lecture.words)
        times = align_words(blocks or compute(), units, lecture.id, acoustic.frame, self.faults)
        timed = float(np.isfinite(times.start).mean())
        if timed < self.least_timed:
            raise DataError(
                f"lecture {lecture.id}: {self.model} recognises only {timed:.1%} of its transcript, under "
                f"{self.least_timed:.0%}; is this the transcript of another recording, or the model of another "
                "language?"
            )
        if self.least_contrast:
            check_text(
                lecture.id,
                str(self.model),
                times,
                lambda: align_words(compute(), units[::-1], lecture.id, acoustic.frame, self.faults),
                self.least_contrast,
            )
        return LectureTimes(times, regions, np.array([max(1, len(u)) for u in units]))


def check_text(
    lecture: str, model: str, times: WordTimes, reverse: Callable[[], WordTimes], least_contrast: float
) -> None:
    """Refuse a transcript whose words are hardly recognised, or no better than in an order in which they are not said.

    How much of a wrong text is timed does not tell: most of its words get some time in the speech, as words that are
    spoken as others. And in a noisy room, less of the right text is recognised than of a wrong one in a quiet room.

    Args:
      lecture: its id, for the message.
      model: named in the message.
      times: of the words.
      reverse: gives the times of the same words in reverse order; called only if few words are recognised.
      least_contrast: times the mean score of `reverse` that the mean score of `times` must be.
    Raises:
      DataError: it is less, or hardly any word is recognised.
    """
    part = part_recognised(times)
    if len(times.start) < _ENOUGH_WORDS or part >= _CLEARLY_RECOGNISED:
        return
    if part < _HARDLY_RECOGNISED:
        raise DataError(
            f"lecture {lecture}: {model} recognises {part:.1%} of its words, under "
            f"{_HARDLY_RECOGNISED:.0%}: it does not know this voice, language or kind of recording; "
            "take the lecture out, or train on the lectures if a model was given (--aligner-model none)"
        )
    score, chance = float(times.score.mean()), float(reverse().score.mean())
    if score < least_contrast * chance:
        raise DataError(
            f"lecture {lecture}: {model} recognises its words hardly better than the same words in reverse order (mean "
            f"confidence {score:.3f} and {chance:.3f}, {score / chance:.2f} times as much, under {least_contrast:g}): "
            "the transcript is that of another recording, or the model does not know this voice or language; correct "
            "the transcript, take the lecture out, or train on the lectures if a model was given (--aligner-model none)"
        )


@functools.lru_cache(maxsize=2)
def _loaded(token: str, model: Path, weights: Path | None, device: str) -> Acoustic:
    return load_acoustic(model, torch.device(device), weights)
