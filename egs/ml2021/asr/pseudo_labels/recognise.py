"""Recognise the windows of a recording in two ways: by modified_beam_search, and by the CTC head or others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_stretches
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.decode.config import DecodeConfig
from ml2021.asr.decode.long_form import feature_batches, words_of
from ml2021.asr.fusion.scorer import Scorer
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.config import SearchConfig
from ml2021.asr.search.hypothesis import Hypothesis
from ml2021.asr.search.methods import encoded, search_encoder_out
from ml2021.asr.words.recording import blocks_of, open_recording
from ml2021.asr.words.script import convert_script, convert_text
from ml2021.asr.words.timed_word import NoSpeechError, TimedToken, TimedWord
from ml2021.asr.words.windows import Chunk, Window, windows_of

Recognise = Callable[[Path], list[TimedWord]]


@dataclass(frozen=True)
class Label:
    """What was recognised in a window."""

    window: Window
    words: tuple[TimedWord, ...]  # times in seconds from the window's first sample
    confidence: float  # mean probability of the tokens; 0 without tokens
    second_text: str  # what the other search gives
    is_between_pauses: bool  # False: speech goes on at an end of the window, where a word may be cut

    @property
    def text(self) -> str:
        """The words with spaces between them."""
        return " ".join(word.text for word in self.words)


@dataclass(frozen=True)
class Labeller:
    """A recogniser, and what its texts are compared with."""

    model: AsrModel
    tokens: TokenTable
    config: DecodeConfig  # of modified_beam_search
    fusion: Scorer | None
    max_window: float  # seconds
    other: Recognise | None = None  # another recogniser; None: the CTC head

    def __post_init__(self) -> None:
        if self.other is None and self.model.config.ctc_loss_scale == 0:
            raise ConfigError(
                "pseudo-labels need a CTC head to compare with, and this model was trained with ctc_loss_scale 0: "
                "compare with another recogniser (--recogniser), or train one with a CTC head"
            )

    def labels_of(self, audio: Path) -> list[Label]:
        """The windows of a recording (16 kHz, mono), in order, without long silences; none if it has no speech.

        Raises:
          DataError: it cannot be read.
          NoSpeechError: it is silent.
        """
        with open_recording(audio) as f:
            speech = speech_stretches(blocks_of(f))
            windows = windows_of(speech, f.frames, self.max_window)
            if not windows:
                raise NoSpeechError(f"{audio}: no speech was detected in it")
            texts = self._recognised(f, windows)
            others = None if self.other is None else texts_in_windows(_words_or_none(self.other, audio), windows)
            labels = []
            for number, (window, (first, second)) in enumerate(zip(windows, texts, strict=True)):
                inside = np.clip(speech[(speech[:, 1] > window.begin) & (speech[:, 0] < window.end)], *window)
                words = self._words(first, inside - window.begin, (window.end - window.begin) / SAMPLE_RATE)
                confidence = float(np.mean(first.scores)) if first.scores else 0.0
                if others is not None:
                    second_text = others[number]
                else:
                    assert second is not None
                    second_text = convert_text(self.tokens.decode(second.tokens), self.config.script)
                labels.append(Label(window, tuple(words), confidence, second_text, True))
        return _without_pauses_marked(labels)

    def _recognised(self, f: sf.SoundFile, windows: Sequence[Window]) -> Iterator[tuple[Hypothesis, Hypothesis | None]]:
        """The hypotheses of both searches for each window, from one pass of the encoder; None: no second search."""
        ctc = SearchConfig("ctc_prefix_beam_search", beam_size=self.config.num_hypotheses)
        chunks = [Chunk(*window, *window) for window in windows]
        for _, features, lens in feature_batches(f, chunks, self.config.max_duration):
            encoder_out, out_lens, below = encoded(self.model, features, lens, self.config.needs_units)
            first = search_encoder_out(self.model, encoder_out, out_lens, self.config, self.fusion, below)
            if self.other is not None:
                yield from ((hypothesis, None) for hypothesis in first)
            else:
                yield from zip(first, search_encoder_out(self.model, encoder_out, out_lens, ctc), strict=True)

    def _words(self, hypothesis: Hypothesis, speech: NDArray[np.int64], duration: float) -> list[TimedWord]:
        """Words of a window of `duration` seconds; speech (R, 2) in samples, and all times, count from its begin."""
        rows = zip(hypothesis.tokens, hypothesis.frames, hypothesis.scores)
        words = words_of([TimedToken(*row) for row in rows], self.tokens, speech)
        words = [replace(w, start=min(w.start, duration), end=min(w.end, duration)) for w in words]
        return convert_script(words, self.config.script)


def texts_in_windows(words: Sequence[TimedWord], windows: Sequence[Window]) -> list[str]:
    """The words of a recording whose middles are in each window."""
    middles = np.array([(w.start + w.end) / 2 * SAMPLE_RATE for w in words])
    return [
        " ".join(words[i].text for i in np.flatnonzero((middles >= begin) & (middles < end)).tolist())
        for begin, end in windows
    ]


def _words_or_none(recognise: Recognise, audio: Path) -> list[TimedWord]:
    try:
        return recognise(audio)
    except NoSpeechError:
        return []


def _without_pauses_marked(labels: Sequence[Label]) -> list[Label]:
    """The labels, with is_between_pauses False where neighbouring windows overlap."""
    cut = {i + k for i, (a, b) in enumerate(pairwise(labels)) if b.window.begin < a.window.end for k in (0, 1)}
    return [replace(label, is_between_pauses=i not in cut) for i, label in enumerate(labels)]
