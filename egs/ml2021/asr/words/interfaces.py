"""What a recogniser must do to be used in this project: of whole recordings, or of windows of half a minute.

A recogniser of windows becomes one of whole recordings by whole_recordings.recognise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ml2021.asr.words.timed_word import TimedWord


@runtime_checkable
class Recogniser(Protocol):
    """Recognises recordings of any length."""

    name: str  # for logs and tables, such as "faster-whisper base"

    def digests(self) -> Mapping[str, str]:
        """{file: digest} of all that the words depend on, options included (a key such as "options")."""

    def recognise(self, audio: Path) -> list[TimedWord]:
        """All words of a recording (16 kHz, mono), in order of time, normalised as transcripts are.

        Raises:
          DataError: the recording cannot be read.
          NoSpeechError: there is no speech in it, or no word was recognised.
        """


class WindowRecogniser(Protocol):
    """Recognises windows that end and begin in pauses where there are any."""

    name: str
    max_window: float  # seconds

    def digests(self) -> Mapping[str, str]:
        """{file: digest} of all that the words depend on, options included."""

    def words_of_windows(self, windows: Sequence[NDArray[np.float32]]) -> list[list[TimedWord]]:
        """The words of each window, in order of time; times are seconds from the window's first sample.

        Args:
          windows: samples at 16 kHz in -1..1, each at most max_window seconds.
        """


@runtime_checkable
class AdaptsToRecording(Protocol):
    """A WindowRecogniser that first listens to a recording, for example to detect its language."""

    def for_recording(self, first: Sequence[NDArray[np.float32]]) -> WindowRecogniser:
        """The recogniser for a recording that has these windows of speech."""
