"""Qwen3-ASR as a recogniser of windows: greedy search, words with the times of its forced aligner.

The model writes a language and a transcript with punctuation, and no times. Two of its failings are caught here: it may
never end its text (the window's length limits it), and where nobody speaks, it repeats the terms that it was given as
context (the window is recognised again without them).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.digests import digest_json
from lhotse_prep.workflow.errors import DataError
from ml2021.asr.qwen.batches import in_batches_that_fit, padded
from ml2021.asr.qwen.checkpoint import (
    ALIGNER,
    HUB_ALIGNER,
    RECOGNISER,
    choose_device,
    choose_dtype,
    digests_of,
    kind_of,
    load_checkpoint,
    require_qwen3_asr,
)
from ml2021.asr.qwen.context import MAX_TOKENS, context_terms, is_echo, language_name
from ml2021.asr.qwen.forced_aligner import QwenForcedAligner
from ml2021.asr.qwen.spoken_words import SpokenWord, WrittenText, without_language_marks, words_of_text, written_text
from ml2021.asr.qwen.spread import fill_in, spread_over_speech
from ml2021.asr.words.options import RecogniserOptions
from ml2021.asr.words.spread import SPREAD_SCORE
from ml2021.asr.words.timed_word import TimedWord

logger = logging.getLogger(__name__)
_BATCH = 8  # windows
_TOKENS_PER_SECOND = 16  # more than anyone says
_MORE_TOKENS = 32  # for the language and the end


class _Answer(NamedTuple):
    """What the model wrote for a window; `ended` unless it was stopped."""

    written: WrittenText
    ended: bool


class QwenRecogniser:
    """Windows of half a minute, several in a batch; the words depend neither on the batch nor on chance."""

    max_window = 30.0  # seconds; the model takes 20 minutes, and its aligner 3

    def __init__(self, name_or_folder: str | Path, options: RecogniserOptions) -> None:
        """
        Args:
          name_or_folder: a folder, or a name on the hub such as Qwen/Qwen3-ASR-1.7B-hf.
          options: language, hotwords (as the model's context), num_threads, device and compute_type; the search is
            greedy, whatever beam_size is.
        Raises:
          ConfigError: an option does not fit, or transformers is too old.
          DataError: there is no such model, or it is incomplete, damaged, or not a recogniser; or the hotwords are too
            many.
        """
        self.name = f"Qwen3-ASR {Path(name_or_folder).name}"
        device = choose_device(options.device)
        dtype = choose_dtype(options.compute_type, device)
        require_qwen3_asr()
        self.language = language_name(options.language)
        self.terms = context_terms(options.hotwords) if options.hotwords else []
        if options.num_threads:
            torch.set_num_threads(options.num_threads)
        self.folder, self.model, self.processor = load_checkpoint(name_or_folder, RECOGNISER, device, dtype)
        self._ends = _search_greedily(self.model, self.processor)
        self.context = ", ".join(term.written for term in self.terms)
        num_tokens = len(self.processor.tokenizer(self.context)["input_ids"])
        if num_tokens > MAX_TOKENS:
            raise DataError(
                f"{options.hotwords}: its {len(self.terms)} terms are {num_tokens} tokens, and Qwen3-ASR takes "
                f"{MAX_TOKENS} as context: leave the less important ones out"
            )
        self.aligner = _aligner_of(name_or_folder, self.folder, options)
        self._options = {
            "language": self.language,
            "context": self.context,
            "dtype": str(dtype),
            "transformers": version("transformers"),
        }

    def digests(self) -> Mapping[str, str]:
        aligner = self.aligner.digests("aligner/") if self.aligner else {}
        return digests_of(self.folder) | aligner | {"options": digest_json(self._options)}

    def words_of_windows(self, windows: Sequence[NDArray[np.float32]]) -> list[list[TimedWord]]:
        """The words of each window; see WindowRecogniser.

        Without an aligner, a window's words are spread over its speech, with scores of at most SPREAD_SCORE.
        """
        for samples in windows:
            assert len(samples) <= self.max_window * SAMPLE_RATE, f"{len(samples) / SAMPLE_RATE} s in a window"
        spoken = self._spoken_words(windows)
        if self.aligner is None:
            return [_spread(samples, words) for samples, words in zip(windows, spoken)]
        times = self.aligner.times_of_windows(
            [(samples, [w.written for w in words]) for samples, words in zip(windows, spoken)]
        )
        results = []
        for samples, words, times_of_words in zip(windows, spoken, times):
            if any(times_of_words):
                rows = zip(words, fill_in(times_of_words, len(samples) / SAMPLE_RATE), strict=True)
                results.append([TimedWord(w.text, t.start, t.end, w.score) for w, t in rows])
            else:
                results.append(_spread(samples, words))
        return results

    def _spoken_words(self, windows: Sequence[NDArray[np.float32]]) -> list[list[SpokenWord]]:
        answers = self._answers(windows, self.context)
        words = [words_of_text(without_language_marks(answer.written)) for answer in answers]
        terms = [term.text for term in self.terms]
        if echoes := [i for i, spoken in enumerate(words) if is_echo([w.text for w in spoken], terms)]:
            again = self._answers([windows[i] for i in echoes], "")
            for i, answer in zip(echoes, again):
                answers[i], words[i] = answer, words_of_text(without_language_marks(answer.written))
            logger.info(
                "%s: %d of %d windows only repeated the hotwords, and were recognised again without them",
                self.name,
                len(echoes),
                len(windows),
            )
        if endless := sum(not answer.ended for answer in answers):
            logger.info(
                "%s: the text of %d of %d windows was cut at %d tokens a second, more than anyone says",
                self.name,
                endless,
                len(windows),
                _TOKENS_PER_SECOND,
            )
        return words

    def _answers(self, windows: Sequence[NDArray[np.float32]], context: str) -> list[_Answer]:
        answers = [_Answer(WrittenText("", []), True)] * len(windows)
        said = [i for i, samples in enumerate(windows) if len(samples)]
        for begin in range(0, len(said), _BATCH):
            batch = said[begin : begin + _BATCH]
            for i, answer in zip(
                batch, in_batches_that_fit(lambda some: self._generate(some, context), [windows[i] for i in batch])
            ):
                answers[i] = answer
        return answers

    def _generate(self, windows: Sequence[NDArray[np.float32]], context: str) -> list[_Answer]:
        inputs = self.processor.apply_transcription_request(
            audio=[padded(samples) for samples in windows], language=self.language or None, prompt=context or None
        ).to(self.model.device, self.model.dtype)
        limits = [int(_TOKENS_PER_SECOND * len(samples) / SAMPLE_RATE) + _MORE_TOKENS for samples in windows]
        probabilities = _LogProbsOfChoices()
        with torch.inference_mode():
            ids = self.model.generate(**inputs, max_new_tokens=max(limits), logits_processor=[probabilities])
        rows = ids[:, inputs["input_ids"].shape[1] :].tolist()
        log_probs = torch.stack(probabilities.steps, dim=1).tolist()
        return [self._answer(*row) for row in zip(rows, log_probs, limits)]

    def _answer(self, ids: Sequence[int], log_probs: Sequence[float], limit: int) -> _Answer:
        length = next((i for i, token in enumerate(ids) if token in self._ends), len(ids))
        end = min(length, limit)
        written = written_text(ids[:end], log_probs[:end], self.processor.tokenizer)
        return _Answer(written, ended=length < min(len(ids), limit))


class _LogProbsOfChoices:
    """Records the log probability of the token that greedy search chooses in each step, (N,), and changes nothing."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.steps.append(scores.float().log_softmax(-1).amax(-1))
        return scores


def is_qwen(path: str | Path) -> bool:
    """Whether path is a folder of Qwen3-ASR or its name on the hub.

    Its forced aligner counts too: QwenRecogniser says what is wrong with it.
    """
    return kind_of(path) != ""


def _search_greedily(model: Any, processor: Any) -> set[int]:
    """Set the model's search, whatever its own settings are, and return the tokens that end a text."""
    from transformers import GenerationConfig

    ends = model.config.eos_token_id
    ids = {ends} if isinstance(ends, int) else set(ends or ())
    ids |= {processor.tokenizer.convert_tokens_to_ids(mark) for mark in ("<|im_end|>", "<|endoftext|>")}
    ids = {i for i in ids if i is not None}
    model.generation_config = GenerationConfig(
        do_sample=False, num_beams=1, eos_token_id=sorted(ids), pad_token_id=min(ids)
    )
    return ids


def _aligner_of(name: str | Path, folder: Path, options: RecogniserOptions) -> QwenForcedAligner | None:
    """The forced aligner in a folder beside the model's, or for a name on the hub the one that Qwen published."""
    if Path(name).is_dir():
        beside = sorted(p for p in folder.resolve().parent.iterdir() if p.is_dir() and kind_of(p) == ALIGNER)
        beside += sorted(p for p in folder.absolute().parent.iterdir() if p.is_dir() and kind_of(p) == ALIGNER)
        place: str | Path = next(iter(beside), "")
    else:
        place = HUB_ALIGNER
    reason = f"no folder beside {name} is Qwen's forced aligner"
    if place:
        try:
            aligner = QwenForcedAligner(place, options.device, options.compute_type)
        except DataError as e:
            if Path(name).is_dir():
                raise
            reason = str(e)
        else:
            logger.info("%s: the times of words come from %s", name, place)
            return aligner
    logger.warning(
        "%s: %s, so its words are spread evenly over the speech of each window, with scores of at most %s: put %s into "
        "a folder beside the model's",
        name,
        reason,
        SPREAD_SCORE,
        HUB_ALIGNER,
    )
    return None


def _spread(samples: NDArray[np.float32], words: Sequence[SpokenWord]) -> list[TimedWord]:
    times = spread_over_speech(samples, [w.text for w in words]) if words else []
    return [
        TimedWord(w.text, start, end, min(w.score, SPREAD_SCORE)) for w, (start, end) in zip(words, times, strict=True)
    ]
