"""Speaks a lecture with espeak-ng: in each sentence its pinyin voice says the Mandarin, its English voice the terms.

espeak-ng has global state, so each lecture is spoken in a new process (`speak_lectures`); this gives the same samples
every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.synthesis import Speaker, Voice
from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from lhotse_prep.workflow.executor import fresh_processes

Samples = npt.NDArray[np.float64]

_ESPEAK_RATE = 22050
_SILENCE = 0.02  # share of a piece's peak; quieter samples at its ends are silence
_JOINT = (0.010, 0.040)  # seconds between two pieces of a sentence
_COMMA = (0.12, 0.25)  # seconds at a comma
_GAP = (0.35, 1.2)  # seconds between sentences; short gaps are more common
_EDGE = 0.6  # seconds before the first sentence and after the last
_SNR_DB = 30.0  # of speech to the added noise
_CUTOFF = (7000.0, 7800.0)  # Hz; the low-pass falls from 1 to 0 in this range
# Syllables per second at espeak rate 200, to plan the length of a lecture.
_HAN_PER_SECOND, _ENGLISH_PER_SECOND = 4.95, 5.4


@dataclass(frozen=True)
class SpokenLecture:
    """The sound of a lecture.

    Args:
      samples: (num_samples,), int16, at SAMPLE_RATE.
      times: start and end of each sentence in seconds, from its first to its last sample that is not silent.
    """

    samples: npt.NDArray[np.int16]
    times: list[tuple[float, float]]


def speak_lectures(
    lectures: Sequence[tuple[Sequence[str], Voice, int, tuple[float, float]]], num_workers: int
) -> list[SpokenLecture]:
    """Speak each lecture (see speak_lecture for its four values) in a new process, num_workers at a time."""
    with fresh_processes(num_workers) as executor:
        return list(executor.map(_speak, lectures, "speaking"))


def _speak(lecture: tuple[Sequence[str], Voice, int, tuple[float, float]]) -> SpokenLecture:
    return speak_lecture(*lecture)


def speak_lecture(sentences: Sequence[str], voice: Voice, seed: int, limits: tuple[float, float]) -> SpokenLecture:
    """Speak one lecture.

    Args:
      sentences: tokens separated by spaces, with "," at pauses.
      voice: of the speaker; rate and pitch vary a little from sentence to sentence.
      seed: of pauses, voice variation and noise.
      limits: minimum and maximum duration in seconds; the gaps between sentences are scaled to meet them.
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
    """The approximate duration of a sentence and the gap after it."""
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
    """The sound of each sentence at SAMPLE_RATE; each of the two espeak voices is loaded once."""
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
    """Split a sentence at language changes and commas: (espeak voice, its text), or (",", "") for a pause."""
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
    """Remove the silence at both ends."""
    loud = np.flatnonzero(np.abs(signal) > _SILENCE * np.abs(signal).max())
    return signal[loud[0] : loud[-1] + 1]


def _language(token: str) -> str:
    return "," if token == "," else "cmn-latn-pinyin" if is_han(token) else "en-us"


def _fit_gaps(gaps: Samples, other_seconds: float, limits: tuple[float, float]) -> Samples:
    """Scale the gaps between sentences, within _GAP, so that the lecture's duration is within the limits."""
    total = other_seconds + gaps.sum()
    target = min(max(total, limits[0] * 1.005), limits[1] * 0.995)
    if target != total:
        gaps = np.clip(gaps * (target - other_seconds) / gaps.sum(), *_GAP)
        if not limits[0] <= other_seconds + gaps.sum() <= limits[1]:
            raise DataError(
                f"a lecture of {total:.0f} s cannot be fitted to {limits[0]:.0f}..{limits[1]:.0f} s; "
                "set min_minutes and max_minutes further apart"
            )
    return gaps


def _finish(signal: Samples, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Scale the signal to a random peak, add noise, and convert it to 16-bit integers."""
    signal *= rng.uniform(0.5, 0.8) / np.abs(signal).max()
    level = np.sqrt(np.mean(signal[np.abs(signal) > 0.01] ** 2))
    signal += rng.standard_normal(len(signal)) * level * 10 ** (-_SNR_DB / 20)
    return np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)


def resample(signal: Samples) -> Samples:
    """Resample from espeak's rate to SAMPLE_RATE with a low-pass, in the frequency domain of the whole signal."""
    ratio = math.gcd(_ESPEAK_RATE, SAMPLE_RATE)
    blocks = -(-len(signal) * ratio // _ESPEAK_RATE) + 1  # at least one block of zeros, as the ends are periodic
    num_in, num_out = blocks * _ESPEAK_RATE // ratio, blocks * SAMPLE_RATE // ratio
    spectrum = np.fft.rfft(signal, num_in)[: num_out // 2 + 1]
    frequencies = np.arange(len(spectrum)) * (_ESPEAK_RATE / num_in)
    spectrum *= np.interp(frequencies, _CUTOFF, (1.0, 0.0))
    resampled = np.fft.irfft(spectrum, num_out) * (num_out / num_in)
    return resampled[: len(signal) * SAMPLE_RATE // _ESPEAK_RATE]
