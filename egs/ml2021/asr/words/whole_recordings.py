"""Recognises a recording of any length with a recogniser of windows: nothing is lost, and nothing said twice.

The recording is read piece by piece, so that only its words take more memory in a longer one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from tqdm import tqdm

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_stretches
from ml2021.asr.words.guards import Findings, guarded
from ml2021.asr.words.interfaces import AdaptsToRecording, WindowRecogniser
from ml2021.asr.words.order import times_in_order
from ml2021.asr.words.overlap import join
from ml2021.asr.words.recording import blocks_of, open_recording, samples_of
from ml2021.asr.words.timed_word import NoSpeechError, TimedWord
from ml2021.asr.words.windows import Window, windows_of

_BATCH = 16  # windows that a recogniser gets together
_FIRST = 4  # windows that it may adapt to


class OfWholeRecordings:
    """A recogniser of windows as one of whole recordings."""

    def __init__(self, recogniser: WindowRecogniser) -> None:
        self._recogniser = recogniser
        self.name = recogniser.name

    def digests(self) -> Mapping[str, str]:
        """See Recogniser."""
        return self._recogniser.digests()

    def recognise(self, audio: Path) -> list[TimedWord]:
        """See Recogniser."""
        return recognise(audio, self._recogniser)


def recognise(audio: Path, recogniser: WindowRecogniser) -> list[TimedWord]:
    """All words of a recording (16 kHz, mono), in order; what the guards left out is logged in one line.

    Raises:
      DataError: it cannot be read.
      NoSpeechError: there is no speech in it, or no word was recognised.
    """
    findings = Findings()
    with open_recording(audio) as f:
        speech = speech_stretches(blocks_of(f))
        if not len(speech):
            raise NoSpeechError(f"{audio}: no speech was detected in it; is it silent, or the wrong recording?")
        windows = windows_of(speech, f.frames, recogniser.max_window)
        words: list[TimedWord] = []
        end = 0
        for window, new in _words_of_windows(f, windows, speech, recogniser, findings):
            words = (
                join(words, new, window.begin / SAMPLE_RATE, end / SAMPLE_RATE) if window.begin < end else words + new
            )
            end = window.end
        duration = f.frames / SAMPLE_RATE
    findings.log(str(audio))
    if not words:
        raise NoSpeechError(
            f"{audio}: {recogniser.name} recognises no words; is it a lecture in a language that it knows?"
        )
    return times_in_order(words, duration)


def _words_of_windows(
    f: sf.SoundFile,
    windows: Sequence[Window],
    speech: NDArray[np.int64],
    recogniser: WindowRecogniser,
    findings: Findings,
) -> Iterator[tuple[Window, list[TimedWord]]]:
    """Windows in order with their words, guarded; times in seconds of the recording."""
    if isinstance(recogniser, AdaptsToRecording):
        some = np.linspace(0, len(windows) - 1, min(_FIRST, len(windows))).round().astype(int)
        recogniser = recogniser.for_recording([samples_of(f, *windows[i]) for i in some])
    with tqdm(total=len(windows), desc="recognising", disable=not sys.stderr.isatty(), leave=False) as bar:
        for first in range(0, len(windows), _BATCH):
            batch = windows[first : first + _BATCH]
            results = recogniser.words_of_windows([samples_of(f, *w) for w in batch])
            for window, words in zip(batch, results, strict=True):
                offset = window.begin / SAMPLE_RATE
                inside = np.clip(speech[(speech[:, 1] > window.begin) & (speech[:, 0] < window.end)], *window)
                duration = (window.end - window.begin) / SAMPLE_RATE
                plain = guarded(words, duration, inside / SAMPLE_RATE - offset, findings)
                yield window, [replace(w, start=w.start + offset, end=w.end + offset) for w in plain]
            bar.update(len(batch))
