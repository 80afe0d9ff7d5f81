"""Whisper's encoder, decoder and aligner on batches of windows, through faster-whisper.

Windows are padded with silence to the 30 s that Whisper was trained on (faster-whisper pads their features with zeros,
which is no silence), and decoded without temperature: the same windows always give the same words.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from ml2021.asr.whisper.pieces import TimedPiece

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.tokenizer import Tokenizer

LONGEST = 30.0  # seconds that Whisper sees
_NUM_SAMPLES = int(LONGEST * SAMPLE_RATE)
_SAMPLES_PER_FRAME = 160  # of features
_MAX_LENGTH = 448  # tokens with those of the prompt; the text gets half of them
MAX_TEXT = 220  # tokens; a longer text may have been cut
_MOST_PROMPT = 220  # tokens of hotwords and of the text before a window; Whisper reads a few more
_FIRST_TIMESTAMP = 50  # fiftieths of a second in which the text must begin


class Transcript(NamedTuple):
    """What Whisper wrote for a window, and what it says about it."""

    pieces: list[TimedPiece]  # times in seconds from the window's first sample
    num_tokens: int  # timestamps included
    mean_log_probability: float
    no_speech_probability: float
    compression_ratio: float  # large for a text that repeats itself
    text: str = ""  # as Whisper wrote it


class WhisperDecoder:
    """Decodes windows of at most 30 s in one language."""

    def __init__(self, model: WhisperModel, language: str, beam_size: int, hotwords: str = "") -> None:
        """
        Args:
          model: of faster-whisper.
          language: Whisper's code of it.
          beam_size: hypotheses kept.
          hotwords: text that is given to Whisper before each window, as if it had been said; empty for none.
        """
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        is_multilingual = model.model.is_multilingual
        self._model = model
        self._tokenizer: Tokenizer = Tokenizer(
            model.hf_tokenizer, is_multilingual, task="transcribe", language=language if is_multilingual else "en"
        )
        self._hotwords = hotwords or None
        num_hotwords = len(self._tokenizer.encode(f" {hotwords}")) if hotwords else 0
        self._most_before = max(0, _MOST_PROMPT - num_hotwords)
        self._suppressed = list(get_suppressed_tokens(self._tokenizer, [-1]))
        self._beam_size = beam_size

    def transcribe(self, windows: Sequence[NDArray[np.float32]], before: str = "") -> list[Transcript]:
        """The transcript of each window; `before` is the text of what was said before, which names are taken from.

        Whisper writes timestamps of its segments, which keep its text in step with the sound; the words' times are
        those of its attention.
        """
        encoded = encode(self._model, windows)
        results = self._model.model.generate(
            encoded,
            [self._prompt_after(before)] * len(windows),
            beam_size=self._beam_size,
            max_length=_MAX_LENGTH,
            max_initial_timestamp_index=_FIRST_TIMESTAMP,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
            return_scores=True,
            return_no_speech_prob=True,
        )
        tokens = [result.sequences_ids[0] for result in results]
        transcripts = []
        for result, ids, pieces in zip(results, tokens, self._align(encoded, windows, tokens)):
            mean = result.scores[0] * len(ids) / (len(ids) + 1)  # the score leaves the end token out
            text = self._tokenizer.decode(ids)
            transcripts.append(Transcript(pieces, len(ids), mean, result.no_speech_prob, compression_ratio(text), text))
        return transcripts

    def _prompt_after(self, before: str) -> list[int]:
        tokens = self._tokenizer.encode(before)[-self._most_before :] if before and self._most_before else []
        prompt: list[int] = self._model.get_prompt(self._tokenizer, tokens, hotwords=self._hotwords)
        return prompt

    def _align(
        self, encoded: Any, windows: Sequence[NDArray[np.float32]], tokens: Sequence[Sequence[int]]
    ) -> list[list[TimedPiece]]:
        eot = self._tokenizer.eot
        texts = [[t for t in ids if t < eot] for ids in tokens]
        if not any(texts):
            return [[] for _ in tokens]
        num_frames = [max(1, min(len(w), _NUM_SAMPLES) // _SAMPLES_PER_FRAME) for w in windows]
        alignments = self._model.find_alignment(self._tokenizer, texts, encoded, num_frames)
        return [_pieces(alignment, _segment_starts(ids, eot)) for alignment, ids in zip(alignments, tokens)]


def _segment_starts(ids: Sequence[int], eot: int) -> set[int]:
    """The numbers of the text tokens that follow a timestamp."""
    num_text, starts = 0, set()
    for before, token in zip([eot, *ids], ids):
        if token < eot:
            if before >= eot:
                starts.add(num_text)
            num_text += 1
    return starts


def _pieces(alignment: Sequence[Mapping[str, Any]], starts: set[int]) -> list[TimedPiece]:
    """Pieces of faster-whisper's alignment; the first one of a segment begins with a space."""
    pieces, num_tokens = [], 0
    for word in alignment:
        text = f" {word['word']}" if num_tokens in starts else str(word["word"])
        pieces.append(TimedPiece(text, float(word["start"]), float(word["end"]), float(word["probability"])))
        num_tokens += len(word["tokens"])
    return pieces


def language_probabilities(model: WhisperModel, windows: Sequence[NDArray[np.float32]]) -> Mapping[str, float]:
    """{language: its mean probability over the windows}."""
    totals: dict[str, float] = {}
    for languages in model.model.detect_language(encode(model, windows)):
        for token, probability in languages:
            code = token.strip("<|>")
            totals[code] = totals.get(code, 0.0) + probability / len(windows)
    return totals


def encode(model: WhisperModel, windows: Sequence[NDArray[np.float32]]) -> Any:
    """The encoder's output for some windows."""
    features = [
        model.feature_extractor(np.pad(w[:_NUM_SAMPLES], (0, max(0, _NUM_SAMPLES - len(w)))), padding=0)
        for w in windows
    ]
    return model.encode(np.stack(features))


def compression_ratio(text: str) -> float:
    """Bytes of a text by those of its compressed form."""
    content = text.encode()
    return len(content) / len(zlib.compress(content))
