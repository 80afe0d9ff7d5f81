"""Speech synthesis by espeak-ng with the time of each word; the wheel espeakng-loader has its library and data.

espeak-ng keeps one global state per process: it is started once, and each phrase sets its speaker's voice and callback.
The state goes on from phrase to phrase (its flutter and noise do), so that the same phrase never sounds the same twice;
speak_afresh has a process of its own, in which it does.
"""

from __future__ import annotations

import ctypes
import functools
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

from lhotse_prep.workflow.errors import DataError

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_EVENT_WORD = 1
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


_current = ""  # name of the voice that the library has now


@functools.cache
def _start_library() -> tuple[ctypes.CDLL, int]:
    """espeak-ng and its sampling rate; started a second time, it would load its data anew under its own feet."""
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    path = str(espeakng_loader.get_data_path()).encode()
    sample_rate = int(library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, path, 0))
    if sample_rate <= 0:
        raise DataError(f"espeak-ng does not start with its data in {path.decode()}; reinstall espeakng-loader")
    return library, sample_rate


@dataclass(frozen=True)
class Voice:
    """How a speaker sounds."""

    variant: str = ""  # such as m3 or f2; empty: espeak's default
    rate: int = 175  # words per minute
    pitch: int = 50  # 0..100
    pitch_range: int = 50  # 0..100; 0 is monotone


@dataclass(frozen=True)
class Speech:
    """Synthesised speech."""

    samples: NDArray[np.float32]  # (num_samples,) in [-1, 1]
    word_starts: NDArray[np.int64]  # (len(words),) first sample of each word


class Speaker:
    """Speaks phrases, each in one language."""

    def __init__(self) -> None:
        self._library, self.sample_rate = _start_library()
        self._chunks: list[NDArray[np.int16]] = []
        self._words: list[tuple[int, int]] = []  # (position in the text, sample) of each word event
        self._callback = _CALLBACK(self._take)  # keep a reference: the library only has a pointer
        self._choice = ("", Voice())

    def choose(self, language: str, voice: Voice) -> None:
        """Set language and voice; `language` is "cmn-latn-pinyin" (pinyin with tone numbers) or "en-us"."""
        self._choice = (f"{language}+{voice.variant}" if voice.variant else language, voice)
        self._set_voice()

    def _set_voice(self) -> None:
        global _current
        name, voice = self._choice
        if name != _current and self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise DataError(f"espeak-ng has no voice {name}; reinstall espeakng-loader")
        _current = name
        values = {_RATE: voice.rate, _VOLUME: 100, _PITCH: voice.pitch, _RANGE: voice.pitch_range}
        for parameter, value in values.items():
            self._library.espeak_SetParameter(parameter, value, 0)

    def speak(self, words: Sequence[str]) -> Speech:
        """Speak words in the language and voice that `choose` set."""
        self._chunks, self._words = [], []
        self._set_voice()  # another speaker may have spoken since
        self._library.espeak_SetSynthCallback(self._callback)
        joined = " ".join(words)
        text = joined.encode() + b"\0"
        if self._library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 1, 0, _CHARS_UTF8, None, None) != 0:
            raise DataError(f"espeak-ng cannot speak {joined!r}")
        samples = (np.concatenate(self._chunks or [np.zeros(0, np.int16)]) / 32768).astype(np.float32)
        return Speech(samples, self._word_starts(words, len(samples)))

    def _word_starts(self, words: Sequence[str], num_samples: int) -> NDArray[np.int64]:
        """First samples of the words; a word that espeak-ng did not report gets the start of the next one."""
        ends = np.cumsum([len(w) + 1 for w in words])  # in characters, with the space
        starts = np.full(len(words), num_samples, np.int64)
        for character, sample in reversed(self._words):
            index = int(np.searchsorted(ends, character - 1, side="right"))
            if index < len(words):
                starts[index] = sample
        return np.minimum.accumulate(starts[::-1])[::-1]

    def _take(self, samples: ctypes._Pointer, num_samples: int, events: ctypes._Pointer) -> int:  # type: ignore[type-arg]
        if num_samples > 0 and samples:
            self._chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        index = 0
        while events and events[index].type != 0:
            if events[index].type == _EVENT_WORD:
                event = events[index]
                self._words.append((event.text_position, event.audio_position * self.sample_rate // 1000))
            index += 1
        return 0


def speak_afresh(phrases: Sequence[tuple[str, Sequence[str]]], voice: Voice) -> tuple[list[Speech], int]:
    """Speak phrases of (language, words) in a new process: the same phrases always sound the same.

    Returns:
      The speech of each phrase, and its sampling rate.
    Raises:
      DataError: espeak-ng failed.
    """
    request = json.dumps({"voice": vars(voice), "phrases": phrases})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "lhotse_prep.audio.synthesis"]
    result = subprocess.run(command, input=request.encode(), env=environment, capture_output=True, check=False)
    if result.returncode != 0:
        reason = result.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {result.returncode}"]
        raise DataError(f"speech synthesis failed: {reason[-1]}")
    with np.load(io.BytesIO(result.stdout), allow_pickle=False) as f:
        samples = np.split(f["samples"], np.cumsum(f["lengths"])[:-1])
        starts = np.split(f["word_starts"], np.cumsum([len(words) for _, words in phrases])[:-1])
        return [Speech(x, y) for x, y in zip(samples, starts, strict=True)], int(f["sample_rate"])


def _speak_request() -> None:
    """Speak the phrases that are written to stdin by speak_afresh."""
    request = json.loads(sys.stdin.buffer.read())
    speaker, voice = Speaker(), Voice(**request["voice"])
    spoken: dict[int, Speech] = {}
    for language in sorted({language for language, _ in request["phrases"]}):  # to load a language takes long
        speaker.choose(language, voice)
        spoken |= {i: speaker.speak(words) for i, (x, words) in enumerate(request["phrases"]) if x == language}
    speeches = [spoken[i] for i in range(len(spoken))]
    content = io.BytesIO()
    np.savez(
        content,
        samples=np.concatenate([x.samples for x in speeches]),
        lengths=np.array([len(x.samples) for x in speeches]),
        word_starts=np.concatenate([x.word_starts for x in speeches]),
        sample_rate=np.array(speaker.sample_rate),
    )
    sys.stdout.buffer.write(content.getvalue())


if __name__ == "__main__":
    _speak_request()
