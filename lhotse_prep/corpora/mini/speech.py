"""Speaks a lecture with espeak-ng: Mandarin by its pinyin voice, English terms by its English voice, in one sentence.

espeak-ng keeps its state in the library, so a lecture is spoken in a process of its own (`speak_lectures`), which makes
the same samples each time.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.text.normalize import is_han
from lhotse_prep.workflow.errors import DataError

Samples = npt.NDArray[np.float64]

_ESPEAK_RATE = 22050
_SILENCE = 0.02  # of a piece's peak: quieter is silence, at its ends
_JOINT = (0.010, 0.040)  # seconds between two pieces of a sentence
_COMMA = (0.12, 0.25)  # seconds at a comma
_GAP = (0.35, 1.2)  # seconds between sentences; short ones are more common
_EDGE = 0.6  # seconds before the first sentence and after the last
_SNR_DB = 30.0
_CUTOFF = (7000.0, 7800.0)  # Hz: the low-pass falls from 1 to 0
# Syllables a second at espeak rate 200, for Mandarin and for English; used to plan a lecture's length.
_HAN_PER_SECOND, _ENGLISH_PER_SECOND = 4.95, 5.4


@dataclass(frozen=True)
class SpokenLecture:
    """A lecture's sound.

    Args:
      samples: (num_samples,), int16, at SAMPLE_RATE.
      times: start and end of each sentence in seconds: its first and its last sample that is not silent.
    """

    samples: npt.NDArray[np.int16]
    times: list[tuple[float, float]]


def speak_lectures(
    lectures: Sequence[tuple[Sequence[str], Voice, int, tuple[float, float]]], num_workers: int
) -> list[SpokenLecture]:
    """Speak each lecture (see speak_lecture for its four values) in a new process, num_workers at a time."""
    with ThreadPoolExecutor(num_workers) as threads:
        return list(threads.map(_speak_in_new_process, lectures))


def _speak_in_new_process(lecture: tuple[Sequence[str], Voice, int, tuple[float, float]]) -> SpokenLecture:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(speak_lecture, *lecture).result()
        except BrokenProcessPool as e:
            raise DataError("a process that spoke a lecture was killed; free some memory and run again") from e


def speak_lecture(sentences: Sequence[str], voice: Voice, seed: int, limits: tuple[float, float]) -> SpokenLecture:
    """Speak one lecture.

    Args:
      sentences: tokens separated by spaces, with "," at pauses.
      seed: of pauses, of variations of voice, of noise.
      limits: least and greatest duration in seconds; the pauses between sentences are fitted to it.
    Raises:
      DataError: the limits cannot be met.
    """
    rng = np.random.default_rng(seed)
    spoken = _speak_sentences(sentences, voice, rng)
    gaps = _fit_gaps(
        _GAP[0] + (_GAP[1] - _GAP[0]) * rng.uniform(size=len(spoken) - 1) ** 2,
        sum(map(len, spoken)) / SAMPLE_RATE + 2 * _EDGE,
        limits,
    )
    signal, times = [_silence(_EDGE)], []
    position = len(signal[0])
    for sentence, gap in zip(spoken, [*gaps, _EDGE]):
        times.append((position / SAMPLE_RATE, (position + len(sentence)) / SAMPLE_RATE))
        signal += [sentence, _silence(gap)]
        position += len(sentence) + len(signal[-1])
    return SpokenLecture(_finish(np.concatenate(signal), rng), times)


def planned_seconds(sentence: str, rate: int) -> float:
    """About how long a sentence and the gap after it will take."""
    seconds = _GAP[0] + (_GAP[1] - _GAP[0]) / 3
    for token in sentence.split():
        if token == ",":
            seconds += sum(_COMMA) / 2
        elif is_han(token):
            seconds += 200 / rate / _HAN_PER_SECOND
        else:
            seconds += 200 / rate * max(1.5, len(token) / 3) / _ENGLISH_PER_SECOND + sum(_JOINT)
    return seconds


def _speak_sentences(sentences: Sequence[str], voice: Voice, rng: np.random.Generator) -> list[Samples]:
    """The sound of each sentence at SAMPLE_RATE. Each of the two voices is loaded once."""
    speaker = Speaker()
    pieces = [sentence_pieces(s) for s in sentences]
    voices = [
        replace(voice, rate=round(voice.rate * rng.uniform(0.95, 1.05)), pitch=round(voice.pitch + rng.uniform(-3, 3)))
        for _ in sentences
    ]
    sounds: dict[tuple[int, int], Samples] = {}
    for language in ("cmn-latn-pinyin", "en-us"):
        for i, sentence in enumerate(pieces):
            speaker.choose(language, voices[i])
            for j, (of_language, text) in enumerate(sentence):
                if of_language == language:
                    sounds[i, j] = resample(trim(speaker.speak(text.split()).samples.astype(np.float64)))
    spoken = []
    for i, sentence in enumerate(pieces):
        signal: list[Samples] = []
        for j, (language, _) in enumerate(sentence):
            if language == ",":
                signal.append(_silence(rng.uniform(*_COMMA)))
            else:
                if j and sentence[j - 1][0] != ",":
                    signal.append(_silence(rng.uniform(*_JOINT)))
                signal.append(sounds[i, j])
        spoken.append(np.concatenate(signal) * 10 ** (rng.uniform(-1.5, 1.5) / 20))
    return spoken


def sentence_pieces(sentence: str) -> list[tuple[str, str]]:
    """Cut a sentence where the language changes and at commas: (voice, what it reads); (",", "") is a pause."""
    from pypinyin import Style, lazy_pinyin

    pieces = []
    for language, group in groupby(sentence.split(), key=_language):
        tokens = list(group)
        if language == ",":
            pieces.append((",", ""))
        elif language == "en-us":
            pieces.append((language, " ".join(tokens)))
        else:
            syllables = lazy_pinyin("".join(tokens), style=Style.TONE3, neutral_tone_with_five=True)
            pieces.append((language, " ".join(syllables)))
    return pieces


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE))


def trim(signal: Samples) -> Samples:
    """Take silence off both ends."""
    loud = np.flatnonzero(np.abs(signal) > _SILENCE * np.abs(signal).max())
    return signal[loud[0] : loud[-1] + 1]


def _language(token: str) -> str:
    return "," if token == "," else "cmn-latn-pinyin" if is_han(token) else "en-us"


def _fit_gaps(gaps: Samples, other_seconds: float, limits: tuple[float, float]) -> Samples:
    """Scale the gaps, within their bounds, so that the lecture's duration lies within limits."""
    total = other_seconds + gaps.sum()
    wanted = min(max(total, limits[0] * 1.005), limits[1] * 0.995)
    if wanted != total:
        gaps = np.clip(gaps * (wanted - other_seconds) / gaps.sum(), *_GAP)
        if not limits[0] <= other_seconds + gaps.sum() <= limits[1]:
            raise DataError(
                f"a lecture of {total:.0f} s cannot be fitted into {limits[0]:.0f} to {limits[1]:.0f} s; "
                "put min_minutes and max_minutes further apart"
            )
    return gaps


def _finish(signal: Samples, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Scale to a random peak, add noise."""
    signal *= rng.uniform(0.5, 0.8) / np.abs(signal).max()
    level = np.sqrt(np.mean(signal[np.abs(signal) > 0.01] ** 2))
    signal += rng.standard_normal(len(signal)) * level * 10 ** (-_SNR_DB / 20)
    return np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)


def resample(signal: Samples) -> Samples:
    """From espeak's sample rate to SAMPLE_RATE, with a low-pass; done in the frequency domain, as in a whole signal."""
    ratio = math.gcd(_ESPEAK_RATE, SAMPLE_RATE)
    blocks = -(-len(signal) * ratio // _ESPEAK_RATE) + 1  # at least one block of zeros, so that the ends do not meet
    num_in, num_out = blocks * _ESPEAK_RATE // ratio, blocks * SAMPLE_RATE // ratio
    spectrum = np.fft.rfft(signal, num_in)[: num_out // 2 + 1]
    frequencies = np.arange(len(spectrum)) * (_ESPEAK_RATE / num_in)
    spectrum *= np.interp(frequencies, _CUTOFF, (1.0, 0.0))
    resampled = np.fft.irfft(spectrum, num_out) * (num_out / num_in)
    return resampled[: len(signal) * SAMPLE_RATE // _ESPEAK_RATE]
