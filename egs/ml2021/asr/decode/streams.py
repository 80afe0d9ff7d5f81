"""Decoding of cuts as streams, several at a time, with its computing time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lhotse.cut import Cut
from tqdm import tqdm

from lhotse_prep.audio.config import FRAME_SHIFT
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.tokens.token_table import TokenTable
from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.decode.config import StreamingConfig
from ml2021.asr.model.recogniser import AsrModel
from ml2021.asr.model.zipformer.config import ZipformerConfig
from ml2021.asr.search.streaming import LOOK_AHEAD, StreamingRecogniser, decode_chunk


@dataclass
class Timing:
    """Computing time of decoding."""

    audio: float = 0.0  # seconds that were decoded
    steps: list[float] = field(default_factory=list)  # seconds of each step: a chunk of every ready stream

    def summary(self, chunk: int) -> dict[str, float]:
        """RTF, seconds per step, and how long a frame waits until its chunk and the look-ahead have arrived.

        Args:
          chunk: input frames.
        """
        frame = FRAME_SHIFT / SAMPLE_RATE
        return {
            "rtf": round(sum(self.steps) / self.audio, 5),
            "step_seconds_median": round(float(np.median(self.steps)), 5),
            "step_seconds_95": round(float(np.percentile(self.steps, 95)), 5),
            "wait_seconds_least": round(LOOK_AHEAD * frame, 3),
            "wait_seconds_most": round((chunk + LOOK_AHEAD) * frame, 3),
        }


def with_chunk(
    config: ZipformerConfig, chunk_size: int | None, left_context_frames: int | None, where: Path
) -> ZipformerConfig:
    """The encoder's configuration with only the chunk size and left context to decode with.

    Args:
      config: of the trained model.
      chunk_size, left_context_frames: frames of 20 ms; None: the first that the model was trained with and is not -1.
      where: the model's folder, for messages.
    Raises:
      ConfigError: the model is not causal, or was not trained with these values.
    """
    if not config.causal:
        raise ConfigError(
            f"the model in {where} is not causal: it needs the whole utterance. Decode it with ml2021.asr.decode, or "
            "train a model that can stream (ml2021.asr.train --causal 1)"
        )
    return replace(
        config,
        chunk_size=(_one_of("chunk_size", config.chunk_size, chunk_size, where),),
        left_context_frames=(_one_of("left_context_frames", config.left_context_frames, left_context_frames, where),),
    )


def _one_of(name: str, trained: Sequence[int], value: int | None, where: Path) -> int:
    """The value of an option if the model was trained with it; None: the first finite one that it was trained with."""
    bounded = [n for n in trained if n > 0]
    if not bounded:
        raise ConfigError(f"the model in {where} was trained with {name} -1 alone; a stream needs a bounded one")
    if value is not None and value not in bounded:
        raise ConfigError(
            f"--{name.replace('_', '-')} {value}: the model in {where} was trained with "
            f"{', '.join(map(str, bounded))}; take one of these"
        )
    return bounded[0] if value is None else value


def decode_streams(
    model: AsrModel, tokens: TokenTable, cuts: Iterable[Cut], config: StreamingConfig
) -> tuple[list[tuple[str, str, str]], Timing]:
    """Decode each cut as a stream, num_decode_streams at a time; when one ends, the next begins.

    Args:
      model: causal, in evaluation mode; its first chunk_size and left_context_frames are used.
      cuts: with features; they are read one by one.
    Returns:
      (cut id, reference, hypothesis) of each cut, sorted by id, and the computing time.
    """
    results, timing = [], Timing()
    with tqdm(desc="streaming", disable=not sys.stderr.isatty(), leave=False) as bar:
        for cut, stream in _finished_streams(model, cuts, config, timing):
            text = cut.supervisions[0].text or ""
            results.append((cut.id, text, tokens.decode(stream.result.tokens)))
            bar.update()
    return sorted(results), timing


def _finished_streams(
    model: AsrModel, cuts: Iterable[Cut], config: StreamingConfig, timing: Timing
) -> Iterator[tuple[Cut, StreamingRecogniser]]:
    """Yield each cut with its stream when it has been decoded."""
    waiting = iter(cuts)
    running: list[tuple[Cut, StreamingRecogniser]] = []
    while True:
        for cut in islice(waiting, config.num_decode_streams - len(running)):
            stream = StreamingRecogniser(model, config.blank_penalty, config.beam)
            stream.queue(torch.from_numpy(cut.load_features()))
            stream.queue_end()
            running.append((cut, stream))
            timing.audio += cut.duration
        if not running:
            return
        started = time.perf_counter()
        decode_chunk([stream for _, stream in running])
        timing.steps.append(time.perf_counter() - started)
        yield from ((cut, stream) for cut, stream in running if not stream.is_ready)
        running = [(cut, stream) for cut, stream in running if stream.is_ready]


def suffix_of(config: StreamingConfig, encoder: ZipformerConfig, weights_name: str, use_averaged_model: bool) -> str:
    """The suffix of the files' names, as in icefall: weights, method, chunk and left context."""
    parts = [weights_name] if weights_name else []
    parts += ["streaming", config.decoding_method]
    if config.beam is not None:
        parts.append(f"num-active-paths-{config.beam}")
    parts.append(f"chunk-size-{encoder.chunk_size[0]}-left-context-frames-{encoder.left_context_frames[0]}")
    if config.blank_penalty:
        parts.append(f"blank-penalty-{config.blank_penalty:g}")
    if weights_name and use_averaged_model:
        parts.append("use-averaged-model")
    return "-".join(parts)
