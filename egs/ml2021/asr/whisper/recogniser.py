"""Whisper as a recogniser of windows: one language a recording, the same words each time, guarded against its failings.

Whisper repeats itself, writes text where nobody speaks, ends its text before the window ends, and is cut when its text
is long. It reads the text of the window before, so that it writes a name as it did there, unless that window failed.
Windows in which it repeats itself or is cut are decoded again in halves; what follows an early end is decoded
again alone; a window that Whisper itself takes for silence gives no words. All of it is counted and logged.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.digests import digest_file, digest_json
from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.whisper.decoding import LONGEST, MAX_TEXT, Transcript, WhisperDecoder, language_probabilities
from ml2021.asr.whisper.folder import is_whisper, model_files, model_folder, require_faster_whisper
from ml2021.asr.whisper.hotwords import prompt_of_terms
from ml2021.asr.whisper.load import load_whisper
from ml2021.asr.whisper.loops import without_loops
from ml2021.asr.whisper.packing import STEP, energies, packs, pieces_of, unpacked
from ml2021.asr.whisper.pieces import words_of_pieces
from ml2021.asr.words.hotwords import read_terms
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.timed_word import TimedWord

__all__ = ["WhisperRecogniser", "is_whisper"]
logger = logging.getLogger(__name__)
_REVISION = 2  # of what this file does; other words, another number
_DETECTED_ON = 4  # windows
_SURE = 0.5  # probability of a language
_EXPECTED = "zh"  # which is how Whisper takes Mandarin with English terms
_MOST_COMPRESSION = 2.4  # of a text that does not repeat itself (Whisper's own limit)
_LEAST_LOG_PROBABILITY = -1.0  # of a text that may be right although Whisper sees no speech (Whisper's own limit)
_MOST_NO_SPEECH = 0.6  # probability (Whisper's own limit)
_LONGEST_SILENCE = 3.0  # seconds without a word at the end of a window, which windows of speech hardly have
_LEAST_PROGRESS = 1.0  # seconds of a window that are not decoded again when it ends early
_LOUD = 0.1  # of a window's loudness: less is no speech
_LEAST_HALVED = 8.0  # seconds, of a window that is decoded in halves
_CODE_SWITCHING = {"breeze-asr": "zh"}  # {part of a model's name: the language that it is trained with}
_FAILINGS = {
    "silent": "without speech, as Whisper says, gave no words",
    "repeated": "in which it repeated itself or was cut were decoded in halves",
    "collapsed": "repeated themselves even so, and of each repeated part only the first was kept",
    "ended": "ended early, and their rest was decoded alone",
}


class WhisperRecogniser:
    """Recognises windows with a Whisper model of CTranslate2."""

    max_window = 28.0

    def __init__(self, name_or_folder: str, options: RecogniserOptions) -> None:
        """
        Args:
          name_or_folder: a folder with model.bin, config.json, tokenizer.json and vocabulary.*; or a name: a size such
            as large-v3, or that of a CTranslate2 model on the Hugging Face hub.
          options: the language, if it is not to be detected; hotwords, search, threads and device.
        Raises:
          ConfigError: faster-whisper is not installed; an option cannot be used with this model or on this machine.
          DataError: the model cannot be had, is incomplete, damaged or of another kind; no hotwords in their file.
        """
        require_faster_whisper()
        self._folder = model_folder(name_or_folder)
        self.name = f"faster-whisper {Path(name_or_folder).name.removeprefix('faster-whisper-')}"
        self._options = options
        self._model = load_whisper(self._folder, options.device, options.compute_type, options.num_threads)
        terms = [term.written for term in read_terms(options.hotwords)] if options.hotwords is not None else []
        self._prompt = prompt_of_terms(terms, lambda text: len(self._model.hf_tokenizer.encode(text).ids))
        self._decoder: WhisperDecoder | None = None
        if language := self._given_language(name_or_folder):
            self._decoder = self._decoder_of(language)
        self._before = ""  # the text of the window before, empty if there is none or it failed
        self._is_of_a_recording = False
        self._failings: Counter[str] = Counter()
        self._digests: dict[str, str] = {}

    def digests(self) -> Mapping[str, str]:
        """{file: digest} of the model, and "options" of all else that the words depend on."""
        if not self._digests:
            self._digests = {path.name: digest_file(path) for path in model_files(self._folder)}
        versions = [version("faster-whisper"), version("ctranslate2")]
        return {**self._digests, "options": digest_json([_REVISION, versions, self._options.digest()])}

    def for_recording(self, first: Sequence[NDArray[np.float32]]) -> WhisperRecogniser:
        """The recogniser for a recording that has these windows of speech: in its language, with no text before it."""
        recogniser = copy.copy(self)
        recogniser._before, recogniser._is_of_a_recording = "", True
        if self._decoder is None:
            recogniser._decoder = self._decoder_of(self._detected(first[:_DETECTED_ON]))
        return recogniser

    def words_of_windows(self, windows: Sequence[NDArray[np.float32]]) -> list[list[TimedWord]]:
        """The normalised words of each window, in order; times are seconds from the window's first sample.

        With for_recording, calls go on from each other; without, the language is that of the first windows that are
        given, and each call is another recording.
        """
        if not windows:
            return []
        if self._decoder is None:
            self._decoder = self._decoder_of(self._detected(windows[:_DETECTED_ON]))
        self._failings.clear()
        self._before = self._before if self._is_of_a_recording else ""
        words: list[list[TimedWord]] = []
        num_pieces = 0
        for group in packs(windows):
            joined = [windows[k] for k in group]
            seams = np.cumsum([len(w) for w in joined]).tolist()
            samples = np.concatenate(joined)
            pieces = pieces_of(samples, seams, int(LONGEST * SAMPLE_RATE))
            num_pieces += len(pieces)
            words += unpacked(self._words_of_pieces(samples, pieces), [len(w) / SAMPLE_RATE for w in joined])
        if self._failings:
            parts = [f"{n} {_FAILINGS[failing]}" for failing, n in sorted(self._failings.items())]
            logger.info("%s: of %d pieces of up to 30 s, or parts of them, %s", self.name, num_pieces, "; ".join(parts))
        return words

    def _words_of_pieces(self, samples: NDArray[np.float32], pieces: Sequence[tuple[int, int]]) -> list[TimedWord]:
        """The words of all pieces of some sound."""
        words: list[TimedWord] = []
        for begin, end in pieces:
            piece = samples[begin:end]
            transcript = self._transcribed(piece, self._before)
            if self._before and _fails(transcript):  # perhaps because of the text before
                transcript = self._transcribed(piece)
            words += _shifted(self._guarded(piece, transcript), begin / SAMPLE_RATE)
            self._before = "" if _fails(transcript) else transcript.text
        return words

    def _guarded(self, window: NDArray[np.float32], transcript: Transcript) -> list[TimedWord]:
        """The words of a window, or of its parts where the transcript of the whole failed."""
        duration = len(window) / SAMPLE_RATE
        if (
            transcript.no_speech_probability > _MOST_NO_SPEECH
            and transcript.mean_log_probability < _LEAST_LOG_PROBABILITY
        ):
            self._failings["silent"] += 1
            return []
        words = words_of_pieces(transcript.pieces)
        plain = without_loops(words)
        repeats = len(plain) < len(words) or transcript.compression_ratio > _MOST_COMPRESSION
        if (repeats or transcript.num_tokens > MAX_TEXT) and duration >= _LEAST_HALVED:
            self._failings["repeated"] += 1
            middle = quietest(window)
            return [*self._part(window, 0, middle), *self._part(window, middle, len(window))]
        if len(plain) < len(words):
            self._failings["collapsed"] += 1
        end = max(_LEAST_PROGRESS, *(w.end for w in plain)) if plain else duration
        rest = int(end * SAMPLE_RATE)
        if duration - end > _LONGEST_SILENCE and _is_loud(window[rest:], window):
            self._failings["ended"] += 1
            return [*plain, *self._part(window, rest, len(window))]
        return plain

    def _part(self, window: NDArray[np.float32], begin: int, end: int) -> list[TimedWord]:
        """The words of samples begin to end of a window."""
        part = window[begin:end]
        return _shifted(self._guarded(part, self._transcribed(part)), begin / SAMPLE_RATE)

    def _transcribed(self, window: NDArray[np.float32], before: str = "") -> Transcript:
        assert self._decoder is not None
        try:
            return self._decoder.transcribe([window], before)[0]
        except RuntimeError as e:  # of CTranslate2, such as too little memory of a GPU
            raise ConfigError(
                f"{self.name} cannot recognise on {self._model.model.device}: {' '.join(str(e).split())}; another "
                "compute_type, such as int8, needs less memory, and device cpu always works"
            ) from e

    def _decoder_of(self, language: str) -> WhisperDecoder:
        return WhisperDecoder(self._model, language, self._options.beam_size, self._prompt)

    def _detected(self, windows: Sequence[NDArray[np.float32]]) -> str:
        """The language that is probable in all of the windows; if none is, _EXPECTED."""
        probabilities = language_probabilities(self._model, windows)
        language = max(probabilities, key=lambda code: probabilities[code])
        if probabilities[language] > _SURE:
            logger.info("%s: the language is %s (probability %.2f)", self.name, language, probabilities[language])
            return language
        logger.warning(
            "%s: the language is unclear (%s with probability %.2f), so it is taken for %s; name it if it is another",
            self.name,
            language,
            probabilities[language],
            _EXPECTED,
        )
        return _EXPECTED

    def _given_language(self, name: str) -> str:
        """The language of the options, or the one that the model needs; empty if it is to be detected."""
        known = self._model.supported_languages
        given = self._options.language.strip().lower().replace("_", "-").partition("-")[0]  # zh-TW is zh
        if given and given not in known:
            codes = ", ".join(sorted(known))
            raise ConfigError(f"{self.name} does not know language {self._options.language!r}, only {codes}")
        trained_with = [language for part, language in _CODE_SWITCHING.items() if part in name.lower()]
        return given or (known[0] if len(known) == 1 else "".join(trained_with[:1]))


def _fails(transcript: Transcript) -> bool:
    """Whether a transcript repeats itself, may have been cut, or is improbable."""
    words = words_of_pieces(transcript.pieces)
    return (
        transcript.compression_ratio > _MOST_COMPRESSION
        or transcript.num_tokens > MAX_TEXT
        or transcript.mean_log_probability < _LEAST_LOG_PROBABILITY
        or len(without_loops(words)) < len(words)
    )


def _shifted(words: Sequence[TimedWord], seconds: float) -> list[TimedWord]:
    return [TimedWord(w.text, w.start + seconds, w.end + seconds, w.score) for w in words]


def quietest(samples: NDArray[np.float32]) -> int:
    """The sample in the middle third of a window around which 0.2 s are the quietest."""
    smooth = np.convolve(energies(samples), np.ones(10), mode="same")
    first = len(smooth) // 3
    return int(first + np.argmin(smooth[first : 2 * len(smooth) // 3])) * STEP + STEP // 2


def _is_loud(part: NDArray[np.float32], window: NDArray[np.float32]) -> bool:
    """Whether a part of a window may have speech in it: its loud moments are nearly as loud as the window's."""
    loud, whole = (float(np.quantile(energies(samples), 0.9)) for samples in (part, window))
    return loud > _LOUD**2 * whole
