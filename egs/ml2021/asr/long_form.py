"""A whole lecture recognised in overlapping windows whose tokens are merged by time; nothing is lost or doubled.

Each window hears `context` seconds on both sides of its chunk. In the middle of the overlap of two windows the first
hands over to the second, at the frame where both agree best.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from lhotse_prep.bootstrap import speech_regions
from lhotse_prep.errors import DataError
from lhotse_prep.features import FRAME_SHIFT, SAMPLE_RATE, fbank
from lhotse_prep.tokens import TokenTable
from lhotse_prep.windows import Chunk, decoding_chunks
from ml2021.asr.lm.load import load_fusion
from ml2021.asr.model import AsrModel
from ml2021.asr.search.fusion import Scorer
from ml2021.asr.search.methods import search
from ml2021.asr.subsampling import SUBSAMPLING_FACTOR
from ml2021.config import DecodeConfig

FRAME = FRAME_SHIFT * SUBSAMPLING_FACTOR  # samples an encoder frame


@dataclass(frozen=True)
class TimedToken:
    """A token of a lecture; `frame` counts encoder frames from the lecture's first sample."""

    id: int
    frame: int
    score: float


@dataclass(frozen=True)
class TimedWord:
    """A unit of normalised text with its time in seconds."""

    text: str
    start: float
    end: float
    score: float


def recognise(audio: Path, model: AsrModel, tokens: TokenTable, config: DecodeConfig) -> list[TimedWord]:
    """All words of a recording (16 kHz, mono) of any length; pauses between them are those that a VAD finds.

    Raises:
      DataError: the recording cannot be read, has another sampling rate, or no speech.
    """
    chunk, context = (
        int(seconds * SAMPLE_RATE) // FRAME * FRAME for seconds in (config.long_form.chunk, config.long_form.context)
    )
    try:
        samples, rate = sf.read(str(audio), dtype="float32")
    except sf.LibsndfileError as e:
        raise DataError(f"{audio} cannot be read as audio ({e})") from e
    if rate != SAMPLE_RATE or samples.ndim != 1 or not len(samples):
        raise DataError(f"{audio}: {rate} Hz, shape {samples.shape}; expected {SAMPLE_RATE} Hz, mono, not empty")
    regions = speech_regions(samples, audio.stem)
    fusion = load_fusion(config, tokens, next(model.parameters()).device)
    decoded = list(_decode_chunks(samples, decoding_chunks(len(samples), chunk, context), model, config, fusion))
    return words_of(merge(decoded), tokens, regions)


def merge(decoded: Sequence[tuple[Chunk, Sequence[TimedToken]]]) -> list[TimedToken]:
    """Join the tokens of neighbouring windows, each heard with context.

    In the part that two windows both hear, the hand-over goes to the frame nearest its middle before which both have
    emitted the same tokens near it; where they agree nowhere, to the middle itself.
    """
    merged: list[TimedToken] = []
    begin = -1  # frame from which the present window's tokens count
    for i, (chunk, tokens) in enumerate(decoded):
        end = 1 << 62
        if i + 1 < len(decoded):
            next_chunk, next_tokens = decoded[i + 1]
            end = _hand_over(
                tokens, next_tokens, next_chunk.begin // FRAME, chunk.end // FRAME, chunk.keep_end // FRAME
            )
            end = max(end, begin)
        merged += [t for t in tokens if begin <= t.frame < end]
        begin = end
    return merged


def words_of(tokens: Sequence[TimedToken], table: TokenTable, regions: NDArray[np.int64]) -> list[TimedWord]:
    """Words with times: a token tells only a moment within its word, the stretches of speech tell where words end.

    Args:
      tokens: of a lecture, in order.
      table: their symbols.
      regions: (R, 2) stretches of speech, samples. The first word that is emitted in one begins with it; each word
        lasts until the next begins or its stretch ends.
    """
    groups: list[list[TimedToken]] = []
    for token in tokens:
        if not groups or table.starts_word(token.id) or table.is_whole_word(groups[-1][-1].id):
            groups.append([])
        groups[-1].append(token)
    firsts, lasts = (np.array([g[k].frame * FRAME for g in groups], dtype=np.int64) for k in (0, -1))
    starts = _drawn_to_onset(firsts, lasts, regions)
    words = []
    for i, group in enumerate(groups):
        region = max(0, int(np.searchsorted(regions[:, 0], lasts[i], side="right")) - 1)
        end = max(int(regions[region, 1]), int(lasts[i]) + FRAME)
        end = min(end, int(starts[i + 1])) if i + 1 < len(groups) else end
        text = table.decode([t.id for t in group])
        if text:
            score = float(np.mean([t.score for t in group]))
            words.append(TimedWord(text, int(starts[i]) / SAMPLE_RATE, max(end, int(starts[i])) / SAMPLE_RATE, score))
    return words


def _drawn_to_onset(
    firsts: NDArray[np.int64], lasts: NDArray[np.int64], regions: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where words start, in samples: that of the first word emitted in a stretch of speech is the stretch's begin."""
    starts = firsts.copy()
    region = np.searchsorted(regions[:, 0], firsts, side="right") - 1
    for i, r in enumerate(region.tolist()):
        if r >= 0 and (i == 0 or lasts[i - 1] < regions[r, 0]):
            starts[i] = regions[r, 0]
    return starts


def _decode_chunks(
    samples: NDArray[np.float32], chunks: Sequence[Chunk], model: AsrModel, config: DecodeConfig, fusion: Scorer | None
) -> Iterator[tuple[Chunk, list[TimedToken]]]:
    """Windows in batches of at most config.max_duration seconds."""
    longest = max((c.end - c.begin) / SAMPLE_RATE for c in chunks)
    size = max(1, int(config.max_duration / longest))
    bar = tqdm(range(0, len(chunks), size), desc="recognising", disable=not sys.stderr.isatty(), leave=False)
    for first in bar:
        batch = chunks[first : first + size]
        features = [torch.from_numpy(fbank(samples[c.begin : c.end])) for c in batch]
        lens = torch.tensor([len(f) for f in features])
        padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
        for chunk, hypothesis in zip(batch, search(model, padded, lens, config, fusion)):
            offset = chunk.begin // FRAME
            rows = zip(hypothesis.tokens, hypothesis.frames, hypothesis.scores)
            yield chunk, [TimedToken(i, offset + frame, score) for i, frame, score in rows]


def _hand_over(a: Sequence[TimedToken], b: Sequence[TimedToken], begin: int, end: int, middle: int) -> int:
    """The frame in begin..end at which window a hands over to window b."""
    near_a = [t for t in a if begin <= t.frame < end]
    near_b = [t for t in b if begin <= t.frame < end]
    best, best_cost = middle, float("inf")
    for frame in range(begin, end + 1):
        cost = _disagreement(near_a, near_b, frame) * 25 + abs(frame - middle)
        if cost < best_cost:
            best, best_cost = frame, cost
    return best


def _disagreement(a: Sequence[TimedToken], b: Sequence[TimedToken], frame: int, slack: int = 3) -> int:
    """Tokens within `slack` frames of the cut that only one of the windows has, or has on the other side of the cut."""
    close_a = [(t.id, t.frame < frame) for t in a if abs(t.frame - frame) <= slack]
    close_b = [(t.id, t.frame < frame) for t in b if abs(t.frame - frame) <= slack]
    return sum(x not in close_b for x in close_a) + sum(x not in close_a for x in close_b)
