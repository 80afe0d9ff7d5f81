"""Qwen3's forced aligner: one pass over a window and its words, which classifies where each word starts and ends.

Legend: N batch, S slots (two per unit: its start and its end), C classes of time, 80 ms each.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.digests import digest_json
from ml2021.asr.qwen.batches import in_batches_that_fit, padded
from ml2021.asr.qwen.checkpoint import ALIGNER, choose_device, choose_dtype, digests_of, kind_of, load_checkpoint
from ml2021.asr.qwen.monotone_path import monotone_path

logger = logging.getLogger(__name__)
_BATCH = 240.0  # seconds of windows in a batch, on a CPU as on a GPU


class WordTime(NamedTuple):
    """Seconds from the window's first sample, and the probability that they are right to within 80 ms."""

    start: float
    end: float
    score: float


class QwenForcedAligner:
    """Times the words of windows. The language need not be known: the model gets each word as it is written."""

    max_window = 180.0  # seconds; the model is made for 300, but its times collapse from about 270 on

    def __init__(
        self, name_or_folder: str | Path, device: str | torch.device = "", compute_type: str = "default"
    ) -> None:
        """
        Args:
          name_or_folder: a folder, or a name on the hub such as Qwen/Qwen3-ForcedAligner-0.6B-hf.
          device: "" is the GPU if there is one.
          compute_type: default, float32, bfloat16 or float16.
        Raises:
          ConfigError: there is no such device or precision, or transformers is too old.
          DataError: there is no such model, or it is incomplete, damaged, or no forced aligner.
        """
        self.name = f"Qwen3 forced aligner {Path(name_or_folder).name}"
        self.device = choose_device(str(device))
        dtype = choose_dtype(compute_type, self.device)
        self.folder, self.model, self.processor = load_checkpoint(name_or_folder, ALIGNER, self.device, dtype)
        self.seconds_per_class = float(self.processor.timestamp_segment_time) / 1000
        self._options = {"dtype": str(dtype), "transformers": version("transformers")}

    def digests(self, prefix: str = "") -> dict[str, str]:
        """{file: digest} of the model's files, and of what else its times depend on as "options"."""
        return digests_of(self.folder, prefix) | {f"{prefix}options": digest_json(self._options)}

    def times(self, samples: NDArray[np.float32], words: Sequence[str]) -> list[WordTime | None]:
        """Times of the words of one window; see times_of_windows."""
        return self.times_of_windows([(samples, words)])[0]

    def times_of_windows(
        self, windows: Sequence[tuple[NDArray[np.float32], Sequence[str]]]
    ) -> list[list[WordTime | None]]:
        """Times of words whose windows are known.

        Args:
          windows: samples (16 kHz, at most max_window seconds) and the words that are said in them, in order. A word
            may have several Han characters; its characters other than letters, digits and apostrophes are ignored.
        Returns:
          For each word its time, or None if no part of it is said (`=`, `%`). Starts and ends never descend, and lie
          inside the window. Words that are not said get times too, with low scores.
        """
        for samples, _ in windows:
            assert len(samples) <= self.max_window * SAMPLE_RATE, f"{len(samples) / SAMPLE_RATE} s in a window"
        units = [[self._units(word) for word in words] for _, words in windows]
        spoken = [i for i, by_word in enumerate(units) if any(by_word) and len(windows[i][0])]
        results: list[list[WordTime | None]] = [[None] * len(words) for _, words in windows]
        for batch in _batches(spoken, [len(samples) / SAMPLE_RATE for samples, _ in windows]):
            flat = [[unit for word in units[i] for unit in word] for i in batch]
            inputs = [(windows[i][0], units_of_window) for i, units_of_window in zip(batch, flat)]
            for i, log_probs in zip(batch, in_batches_that_fit(self._slots, inputs)):
                results[i] = self._word_times(log_probs, units[i], len(windows[i][0]) / SAMPLE_RATE)
        return results

    def _units(self, word: str) -> list[str]:
        """What the model times of a word: each Han character, and what is between them, without marks."""
        units: list[str] = self.processor.split_words_for_alignment(word)
        return units

    def _slots(self, windows: Sequence[tuple[NDArray[np.float32], Sequence[str]]]) -> list[NDArray[np.float32]]:
        """Log probabilities (S, C) of the slots of each window's units; N windows in one pass."""
        conversations = []
        for samples, units in windows:
            content: list[dict[str, Any]] = [{"type": "audio", "audio": padded(samples)}]
            conversations.append([{"role": "user", "content": content + [{"type": "text", "text": u} for u in units]}])
        inputs = self.processor.apply_chat_template(conversations, tokenize=True, return_dict=True)
        inputs = inputs.to(self.model.device, self.model.dtype)
        is_slot = inputs["input_ids"] == self.model.config.timestamp_token_id
        with torch.inference_mode():
            hidden = self.model.model(**inputs).last_hidden_state
            log_probs = self.model.score(hidden[is_slot]).float().log_softmax(-1).cpu().numpy()
        num_slots = [2 * len(units) for _, units in windows]
        assert is_slot.sum(1).tolist() == num_slots, "a slot for the start and the end of each unit"
        return np.split(log_probs, np.cumsum(num_slots)[:-1])

    def _word_times(
        self, log_probs: NDArray[np.float32], units: Sequence[Sequence[str]], duration: float
    ) -> list[WordTime | None]:
        """The times of words from the slots of their units, (S, C)."""
        last = max(1, math.floor(duration / self.seconds_per_class))
        log_probs = log_probs[:, : last + 1]  # no later than the window's end
        steps = np.zeros(len(log_probs), dtype=np.int64)
        steps[1::2] = 1  # a unit lasts
        classes = monotone_path(log_probs, steps)
        near = np.pad(np.exp(log_probs), ((0, 0), (1, 1)))
        slots = np.arange(len(classes))
        scores = np.sum([near[slots, classes + shift] for shift in range(3)], axis=0)  # to within one class
        seconds = np.minimum(classes * self.seconds_per_class, duration)
        times: list[WordTime | None] = []
        begin = 0
        for word in units:
            end = begin + 2 * len(word)
            if word:
                score = float(np.exp(np.log(np.clip(scores[begin:end], 1e-9, 1.0)).mean()))
                times.append(WordTime(float(seconds[begin]), float(seconds[end - 1]), score))
            else:
                times.append(None)
            begin = end
        return times


def is_qwen_aligner(path: str | Path) -> bool:
    """Whether path is a folder of Qwen3's forced aligner, or its name on the hub."""
    return kind_of(path) == ALIGNER


def _batches(items: Sequence[int], durations: Sequence[float]) -> Iterator[list[int]]:
    """Neighbours, in batches of one or of at most _BATCH seconds with padding."""
    batch: list[int] = []
    for i in items:
        if batch and (len(batch) + 1) * max(durations[j] for j in [*batch, i]) > _BATCH:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
