"""Recognise a whole lecture in windows that are merged by time.

A window is a chunk that ends in a pause as wide as those in which the windows of training end. Where there is none,
windows overlap by `context` seconds. Long silences are not decoded. The recording is read in pieces and features are
computed window by window, so that only the words take more memory in a longer lecture.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import soundfile as sf
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from lhotse_prep.alignment.config import StretchConfig
from lhotse_prep.alignment.word_times import drawn_out, drawn_to_onsets
from lhotse_prep.audio.fbank import fbank, fbank_extractor
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.audio.vad import speech_stretches
from lhotse_prep.tokens.token_table import TokenTable
from ml2021.asr.decode.config import DecodeConfig, LongFormConfig
from ml2021.asr.decode.merge_windows import merge
from ml2021.asr.fusion.scorer import Scorer
from ml2021.asr.model.layers.encoder_frames import FRAME
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.search.methods import search, token_table
from ml2021.asr.words.recording import blocks_of, open_recording, samples_of
from ml2021.asr.words.timed_word import NoSpeechError, TimedToken, TimedWord
from ml2021.asr.words.windows import EARLIEST, Chunk, best_pause
from ml2021.training.memory import give_back_freed_memory

_MIN_PAUSE = int(StretchConfig.min_pause * SAMPLE_RATE)  # samples; in narrower ones, words near the cut are lost


def recognise(
    audio: Path, model: AsrModel, tokens: TokenTable, config: DecodeConfig, fusion: Scorer | None = None
) -> list[TimedWord]:
    """All words of a recording (16 kHz, mono) of any length; the pauses between them come from a VAD.

    Args:
      audio: the recording.
      model: the recogniser.
      tokens: its token table.
      config: method, windows and batches.
      fusion: the language model and hotwords of config, from ml2021.asr.fusion.load.load_fusion.
    Raises:
      DataError: the recording cannot be read, or is not 16 kHz mono (audio.convert.as_16k_mono makes it so).
      NoSpeechError: there is no speech in it.
    """
    with open_recording(audio) as f:
        regions = speech_stretches(blocks_of(f))
        if not len(regions):
            raise NoSpeechError(f"{audio}: no speech was detected in it; is it silent, or the wrong recording?")
        chunks = windows_over_speech(regions, f.frames, config.long_form)
        decoded = list(_decode_chunks(f, chunks, model, config, fusion))
    return words_of(merge(decoded), token_table(model, tokens, config), regions)


def windows_over_speech(regions: NDArray[np.int64], num_samples: int, config: LongFormConfig) -> list[Chunk]:
    """Windows over all speech, in order, without the silences longer than max_silence.

    Args:
      regions: (R, 2) stretches of speech in samples, ascending.
      num_samples: of the recording.
      config: sizes of the windows.
    Returns:
      Windows in samples that begin at whole encoder frames; the kept parts are disjoint and cover every stretch.
    """
    context, max_silence = (
        int(seconds * SAMPLE_RATE) // FRAME * FRAME for seconds in (config.context, config.max_silence)
    )
    spans: list[list[int]] = []
    for begin, end in regions.tolist():
        begin, end = max(0, begin - context) // FRAME * FRAME, min(num_samples, end + context)
        if spans and (max_silence == 0 or begin - spans[-1][1] <= max_silence - 2 * context):
            spans[-1][1] = end
        else:
            spans.append([begin, end])
    if max_silence == 0:
        spans = [[0, num_samples]]
    pauses = np.stack([regions[:-1, 1], regions[1:, 0]], axis=1)
    pauses = pauses[pauses[:, 1] - pauses[:, 0] >= _MIN_PAUSE]
    return [chunk for begin, end in spans for chunk in _chunks(begin, end, pauses, config)]


def _chunks(begin: int, end: int, pauses: NDArray[np.int64], config: LongFormConfig) -> Iterator[Chunk]:
    """Windows over a span of a recording: they end in the middle of a pause, or overlap by their contexts.

    Args:
      begin, end: of the span, in samples.
      pauses: (P, 2) between stretches of speech in which windows may end, ascending.
      config: sizes of the windows.
    """
    size, context = (int(seconds * SAMPLE_RATE) // FRAME * FRAME for seconds in (config.chunk, config.context))
    size = max(size, FRAME)
    middles, widths = pauses.sum(axis=1) // 2, pauses[:, 1] - pauses[:, 0]
    window_begin = keep_begin = begin
    while end - keep_begin > size:
        pause = best_pause(middles, widths, keep_begin + max(int(EARLIEST * size), FRAME), keep_begin + size)
        cut, overlap = (keep_begin + size, context) if pause is None else (pause // FRAME * FRAME, 0)
        yield Chunk(window_begin, min(cut + overlap, end), keep_begin, cut)
        window_begin, keep_begin = max(begin, cut - overlap), cut
    yield Chunk(window_begin, end, keep_begin, end)


def words_of(tokens: Sequence[TimedToken], table: TokenTable, regions: NDArray[np.int64]) -> list[TimedWord]:
    """Words with times: a token marks only a moment within its word, stretches of speech tell where words end.

    Args:
      tokens: of a lecture, in order.
      table: their symbols.
      regions: (R, 2) stretches of speech, samples. The first word that is emitted in a stretch starts with it if it is
        emitted soon after (see drawn_to_onsets). Each word lasts until the next word starts or its stretch ends, but
        not longer than StretchConfig.max_word unless its tokens do. Words that begin with the same token share its time
        evenly.
    """
    spans = table.words([t.id for t in tokens])
    groups = [list(same) for _, same in groupby(spans, key=lambda s: s.begin)]  # words that begin with the same token
    firsts, lasts = (
        np.array([tokens[i].frame * FRAME for i in at], dtype=np.int64)
        for at in ([g[0].begin for g in groups], [g[-1].end - 1 for g in groups])
    )
    starts, ends = _word_spans(firsts, lasts, regions, np.array([len(g) for g in groups]))
    words = []
    for group, begin, end in zip(groups, starts.tolist(), ends.tolist()):
        for (start, stop), word in zip(pairwise(np.linspace(begin, end, len(group) + 1).tolist()), group):
            word_tokens = tuple(tokens[word.begin : word.end])
            score = float(np.mean([t.score for t in word_tokens]))
            words.append(TimedWord(word.text, start, stop, score, word_tokens))
    return words


def _word_spans(
    firsts: NDArray[np.int64], lasts: NDArray[np.int64], regions: NDArray[np.int64], num_words: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts and ends in seconds of words, or groups of num_words words, from the samples of first and last tokens."""
    first, moment = firsts / SAMPLE_RATE, (lasts + 1) / SAMPLE_RATE
    speech = regions / SAMPLE_RATE
    start = drawn_to_onsets(first, moment, speech, least=0.0)
    end = drawn_out(start, moment, speech, StretchConfig.max_word * num_words.astype(np.float64))
    end = np.maximum(end, (lasts + FRAME) / SAMPLE_RATE)
    return start, np.maximum(start, np.minimum(end, np.append(start[1:], np.inf)))


def batches_by_duration(chunks: Sequence[Chunk], max_duration: float) -> list[list[Chunk]]:
    """Batches of neighbours: one chunk, or several whose number times the longest is at most max_duration seconds."""
    batches: list[list[Chunk]] = []
    longest = 0
    for chunk in chunks:
        longest = max(longest, chunk.end - chunk.begin)
        if batches and (len(batches[-1]) + 1) * longest <= max_duration * SAMPLE_RATE:
            batches[-1].append(chunk)
        else:
            batches.append([chunk])
            longest = chunk.end - chunk.begin
    return batches


def feature_batches(
    f: sf.SoundFile, chunks: Sequence[Chunk], max_duration: float
) -> Iterator[tuple[list[Chunk], Tensor, Tensor]]:
    """Yield windows in order in batches of at most max_duration seconds: N windows, features (N, T, 80), lens (N,)."""
    extractor = fbank_extractor()
    with tqdm(total=len(chunks), desc="recognising", disable=not sys.stderr.isatty(), leave=False) as bar:
        for batch in batches_by_duration(chunks, max_duration):
            features = [torch.from_numpy(fbank(samples_of(f, c.begin, c.end), extractor)) for c in batch]
            lens = torch.tensor([len(x) for x in features])
            yield batch, torch.nn.utils.rnn.pad_sequence(features, batch_first=True), lens
            give_back_freed_memory()
            bar.update(len(batch))


def _decode_chunks(
    f: sf.SoundFile, chunks: Sequence[Chunk], model: AsrModel, config: DecodeConfig, fusion: Scorer | None
) -> Iterator[tuple[Chunk, list[TimedToken]]]:
    """Yield windows in order with their tokens, decoded in batches of at most config.max_duration seconds."""
    for batch, features, lens in feature_batches(f, chunks, config.max_duration):
        hypotheses = search(model, features, lens, config, fusion)
        for chunk, hypothesis in zip(batch, hypotheses, strict=True):
            offset = chunk.begin // FRAME
            rows = zip(hypothesis.tokens, hypothesis.frames, hypothesis.scores)
            yield chunk, [TimedToken(i, offset + frame, score) for i, frame, score in rows]
