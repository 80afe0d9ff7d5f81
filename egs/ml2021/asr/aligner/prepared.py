"""What the rounds need of a lecture: its features, which may lie in a file, its speech, and the current times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.lecture_times import LectureTimes, file_name
from lhotse_prep.alignment.lectures import Lecture
from lhotse_prep.alignment.word_times import WordTimes
from lhotse_prep.audio.fbank import fbank
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_regions
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.files import whole_file
from ml2021.asr.aligner.refine import times_by_synthesis


@dataclass(frozen=True)
class StoredFrames:
    """Some frames of an array (T, F) in a .npy file; they are in memory only where `read` has put them."""

    path: Path
    begin: int
    end: int

    @classmethod
    def of_file(cls, path: Path) -> StoredFrames:
        """All frames of a file; raises DataError if it is missing or damaged."""
        return cls(path, 0, len(_mapped(path)))

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, frames: slice) -> StoredFrames:
        begin, end, step = frames.indices(len(self))
        assert step == 1
        return StoredFrames(self.path, self.begin + begin, self.begin + max(begin, end))

    def read(self) -> NDArray[np.float32]:
        """(len, F), copied from the file, which is mapped only meanwhile."""
        return np.array(_mapped(self.path)[self.begin : self.end])


Frames = NDArray[np.float32] | StoredFrames  # (T, F)


def as_array(frames: Frames) -> NDArray[np.float32]:
    """Frames in memory."""
    return frames.read() if isinstance(frames, StoredFrames) else frames


@dataclass
class PreparedLecture:
    """What the rounds need of a recording and its transcript, with the current times."""

    id: str
    words: list[str]
    features: Frames  # (T, 80)
    regions: NDArray[np.int64]  # (R, 2) stretches of speech, samples
    times: NDArray[np.float64]  # (len(words),) current middle of each word in samples; NaN: not spoken
    digest: str = ""  # of the recording and the transcript

    def content(self) -> str:
        """See lecture_times.Item."""
        return self.digest


def read_lecture(
    lecture_id: str, samples: NDArray[np.float32], words: list[str], times: WordTimes | None = None
) -> PreparedLecture:
    """Features, stretches of speech and first times of one lecture: those given, or else those of synthetic speech."""
    regions = speech_regions(samples, lecture_id)
    features = fbank(samples)
    if times is not None:
        return PreparedLecture(lecture_id, words, features, regions, middles(times))
    return PreparedLecture(
        lecture_id, words, features, regions, middles(times_by_synthesis(lecture_id, words, features, regions))
    )


def middles(times: WordTimes) -> NDArray[np.float64]:
    """The middle of each word, in samples."""
    return (times.start + times.end) / 2 * SAMPLE_RATE


@dataclass(frozen=True)
class Preparation:
    """Reads a lecture and writes its features to a file; for time_each."""

    folder: Path  # for the features

    def __call__(self, lecture: Lecture) -> LectureTimes:
        """Stretches of speech; as starts and ends of the words, PreparedLecture.times."""
        prepared = read_lecture(lecture.id, lecture.samples(), lecture.words)
        with whole_file(self._path(lecture), "wb") as f:
            np.save(f, as_array(prepared.features))
        times = WordTimes(prepared.times, prepared.times, np.zeros(len(prepared.words)))
        return LectureTimes(times, prepared.regions, np.ones(len(prepared.words), dtype=np.int64))

    def result(self, lecture: Lecture, kept: LectureTimes) -> PreparedLecture:
        """The lecture, with its features in their file.

        Raises:
          DataError: the file is missing or damaged.
        """
        features = StoredFrames.of_file(self._path(lecture))
        return PreparedLecture(lecture.id, lecture.words, features, kept.regions, kept.times.start, lecture.content())

    def _path(self, lecture: Lecture) -> Path:
        return self.folder / f"{file_name(lecture.id)}.npy"


def _mapped(path: Path) -> NDArray[np.float32]:
    try:
        mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as e:
        raise DataError(f"{path} is missing or damaged: remove the folder {path.parent.parent}, and run again") from e
    return mapped
