"""Recognises windows with a model folder of sherpa-onnx, whatever its family.

Times: transducers, CTC models, SenseVoice and most Paraformers say when each token begins. Whisper says when phrases
begin and end, and in exports with attention when tokens do. FireRed ASR, Canary, Cohere, Moonshine, Fun-ASR-Nano and
Qwen3-ASR say nothing: their words are spread over the speech of a short window, right to about a second, and score
SPREAD_SCORE; so do words spread over a phrase.
Scores: transducers give the probability of each token. The others give none, and their timed words score 1.

The same windows give the same words, except for WeNet's models, to whose features sherpa-onnx adds noise.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lhotse_prep.alignment.config import TIMES_VERSION
from lhotse_prep.audio.inspect import SAMPLE_RATE
from lhotse_prep.workflow.digests import digest_file, digest_json
from lhotse_prep.workflow.errors import ConfigError, DataError, list_names
from ml2021.asr.sherpa.catalog import SHORT_WINDOW
from ml2021.asr.sherpa.families import SherpaModel
from ml2021.asr.sherpa.folder import find_model, is_sherpa
from ml2021.asr.sherpa.hotwords import hotword_arguments
from ml2021.asr.sherpa.process import SherpaProcess
from ml2021.asr.sherpa.speech_level import loud_regions
from ml2021.asr.sherpa.spelling import TimedText, words_of_text, words_of_tokens
from ml2021.asr.sherpa.token_table import SherpaTokens, read_tokens
from ml2021.asr.words.timed_word import TimedWord

if TYPE_CHECKING:
    from ml2021.asr.words.options import RecogniserOptions

__all__ = ["SherpaRecogniser", "is_sherpa"]

logger = logging.getLogger(__name__)
_BATCH_SECONDS = 120.0  # of windows decoded at a time
_LEAST = SAMPLE_RATE // 2  # samples; shorter windows are padded, since some models fail on a few frames
_FUN_ASR_LANGUAGES = {"zh": "中文", "en": "英文", "ja": "日文"}
_EXTERNAL = (".weights", ".data", ".onnx_data", ".bin")  # suffixes of weights outside of their .onnx file
_UNKNOWN_TOKEN = re.compile(r"Cannot find ID for token (\S+)")
_FAILED = re.compile(r"Caught exception:\s*(.+)")
_PARAFORMER_OUTPUTS = 4  # logits, number of tokens, weights, peaks
_WHISPER_GAP = 0.02  # seconds that a phrase lasts at least


class SherpaRecogniser:
    """The words of windows, by a model in a folder of sherpa-onnx."""

    def __init__(self, folder: Path, options: RecogniserOptions) -> None:
        """
        Args:
          folder: unpacked, with the files as published.
          options: language for families that have a choice; hotwords for those that can; beam_size for transducers of
            icefall; compute_type chooses among several weights.
        Raises:
          ConfigError: sherpa-onnx is not installed, or the model cannot do what an option asks for.
          DataError: the folder is not a model, or a file of it is missing or damaged.
        """
        _require_sherpa()
        self._model = find_model(Path(folder), options.compute_type)
        self._tokens = read_tokens(self._model)
        self._options = options
        family = self._model.family
        self.name = f"sherpa-onnx {self._model.folder.resolve().name} ({family.name})"
        self._has_times = _has_times(self._model)
        self.max_window = family.max_window if self._has_times else min(family.max_window, SHORT_WINDOW)
        self._language = _language(self._model, options.language)
        self._recording_language = ""
        self._num_unknown = 0
        self._num_behind = 0  # phrases
        self._codes = _codes(self._model)
        self._open()
        logger.info("%s: %s", self.name, _says_about_times(family.name, self._has_times))

    def digests(self) -> Mapping[str, str]:
        """{file: digest} of the model's files; the options under "options"."""
        model = self._model
        files = [*model.files.values(), *([model.tokens] if model.tokens else [])]
        files += sorted(p for p in model.folder.iterdir() if p.name.endswith(_EXTERNAL) and p.is_file())
        if model.tokenizer:
            files += [model.tokenizer / name for name in model.family.tokenizer_files]
        if self._options.hotwords:
            files += [p for p in (model.folder / "bpe.vocab", model.folder / "bpe.model") if p.is_file()]
        digests = {str(p.relative_to(model.folder)): digest_file(p) for p in files}
        version = importlib.metadata.version("sherpa-onnx")
        return {**digests, "options": digest_json([self._options.digest(), version, TIMES_VERSION])}

    def words_of_windows(self, windows: Sequence[NDArray[np.float32]]) -> list[list[TimedWord]]:
        """The words of each window, in order of time; see WindowRecogniser.

        Raises:
          DataError: sherpa-onnx failed.
        """
        results: list[list[TimedWord]] = [[] for _ in windows]
        num_behind = self._num_behind
        failures: list[str] = []
        for batch in _batches([len(w) for w in windows]):
            for index, result in zip(batch, self._decoded([windows[i] for i in batch], failures), strict=True):
                results[index] = self._words(windows[index], result)
        if failures:
            logger.warning(
                "%s: sherpa-onnx failed on %d of %d windows, which have no words (%s)",
                self.name,
                len(failures),
                len(windows),
                failures[0][:200],
            )
        if self._num_behind > num_behind:
            logger.info(
                "%s: %d phrases dropped that begin after the end of their window, in silence",
                self.name,
                self._num_behind - num_behind,
            )
        return results

    def for_recording(self, first: Sequence[NDArray[np.float32]]) -> SherpaRecogniser:
        """This recogniser, in the language of a recording if it is a Whisper that was given none.

        Whisper detects it in each window, and would write a window with many English terms in English.
        """
        if self._model.family.name == "Whisper" and not self._options.language and self._codes and first:
            self._set_language("")
            codes = Counter(r["lang"] for r in self._decoded(first, []) if r["lang"])
            language = max(codes, key=lambda code: codes[code], default="")
            if language:
                logger.info("%s: the recording is in %s", self.name, language)
            self._set_language(language)
        return self

    def close(self) -> None:
        """End sherpa-onnx's process."""
        self._process.close()

    def _open(self) -> None:
        with tempfile.TemporaryDirectory() as work:
            settings = _settings(self._model, self._tokens, self._options, self._language, Path(work))
            self._process = SherpaProcess(self._model.folder, settings)
        if tokens := sorted(set(_UNKNOWN_TOKEN.findall(self._process.printed))):
            self.close()
            raise DataError(
                f"{self._options.hotwords}: the model's tokens.txt lacks {list_names(tokens)}, which hotwords need; "
                "remove the terms with them"
            )

    def _decoded(self, windows: Sequence[NDArray[np.float32]], failures: list[str]) -> list[dict[str, Any]]:
        """sherpa-onnx's results; windows on which it fails are decoded alone, and then have none."""
        if self._process.pid != os.getpid():  # after a fork, since two processes cannot share one
            self._open()
            if self._recording_language:
                self._process.set_language(self._recording_language)
        least = max(_LEAST, int(self._model.family.padded_to * SAMPLE_RATE))
        padded = [np.pad(w, (0, max(0, least - len(w)))) for w in windows]
        results, printed = self._process.decode(padded)
        if not (match := _FAILED.search(printed)):
            return results
        if len(windows) == 1:
            failures.append(match[1].strip())
            return results
        return [result for window in windows for result in self._decoded([window], failures)]

    def _set_language(self, language: str) -> None:
        self._recording_language = language
        self._process.set_language(language)

    def _words(self, window: NDArray[np.float32], result: Mapping[str, Any]) -> list[TimedWord]:
        duration = len(window) / SAMPLE_RATE
        if not (result["text"] or "").strip() and not result["tokens"]:
            return []
        regions = loud_regions(window)
        self._count_unknown(result)
        if (timed := _timed_texts(result, self._has_times, duration)) and self._tokens:
            return [_within(w, duration) for w in words_of_tokens(timed, self._tokens, regions)]
        if result["segment_texts"]:
            rows = zip(result["segment_texts"], result["segment_timestamps"], result["segment_durations"], strict=True)
            phrases = [(text, begin, min(duration, begin + length)) for text, begin, length in rows if begin < duration]
            self._num_behind += len(result["segment_texts"]) - len(phrases)
            return [w for text, begin, end in phrases for w in words_of_text(text, _clipped(regions, begin, end))]
        return words_of_text(result["text"] or "", regions)

    def _count_unknown(self, result: Mapping[str, Any]) -> None:
        num_unknown = sum(token in ("<unk>", " <unk>") for token in result["tokens"] or ())
        if num_unknown and not self._num_unknown:
            logger.warning("%s: it has no token for some words (<unk>), which are missing", self.name)
        self._num_unknown += num_unknown


def _require_sherpa() -> None:
    try:
        importlib.metadata.version("sherpa-onnx")
    except importlib.metadata.PackageNotFoundError as e:
        raise ConfigError("sherpa-onnx is not installed: pip install -e .") from e


def _codes(model: SherpaModel) -> tuple[str, ...]:
    """The codes of the languages that a model can be told; none if it has only one."""
    family, header = model.family, model.headers.get(model.family.main)
    if not family.language_key or header is None:
        return family.languages
    if header.metadata.get("is_multilingual") == "0":
        return ()
    return tuple(c for c in header.metadata.get(family.language_key, "").split(",") if c)


def _language(model: SherpaModel, language: str) -> str:
    """The language as the family's factory takes it; empty for the model's own choice."""
    family = model.family
    codes = _codes(model) or (("en",) if family.name == "Whisper" else ())
    if not family.language_argument:
        if language:
            logger.warning("%s models have no choice of languages; %r is not used", family.name, language)
        return ""
    if not language and family.name == "Cohere Transcribe":
        raise ConfigError(f"{family.name} models need a language, one of {list_names(codes, most=20)}: name it")
    if not language and family.name == "Canary":
        language = "en"
        logger.warning("no language given; Canary takes the speech for English")
    if language and codes:
        asked, language = language, next((code for code in _spellings(language) if code in codes), "")
        if not language:
            raise ConfigError(f"{model.folder} does not know language {asked!r}, only {list_names(codes, most=100)}")
    return _FUN_ASR_LANGUAGES.get(language, language) if family.name == "Fun-ASR-Nano" else language


def _spellings(language: str) -> tuple[str, ...]:
    """What a language may be called in a model, such as zh for zh-TW, which it is also in other recognisers."""
    return language, language.lower(), re.split("[-_]", language.lower())[0]


def _settings(
    model: SherpaModel, tokens: SherpaTokens | None, options: RecogniserOptions, language: str, work_dir: Path
) -> dict[str, Any]:
    """What the worker opens the recogniser with; see worker.open_sherpa."""
    family = model.family
    arguments: dict[str, Any] = {family.arguments[role]: str(path.resolve()) for role, path in model.files.items()}
    arguments["num_threads"] = options.num_threads or os.cpu_count() or 1
    arguments["provider"] = _provider(options.device)
    if model.tokens:
        arguments["tokens"] = str(model.tokens.resolve())
    if model.tokenizer:
        arguments["tokenizer"] = str(model.tokenizer.resolve())
    if family.language_argument and (language or family.name == "Whisper"):  # which takes English if not told
        arguments[family.language_argument] = language
    if family.name == "Canary":
        arguments["tgt_lang"] = language
    if family.name == "Whisper":
        arguments |= _whisper_times(model)
    if family.name == "NeMo transducer":
        arguments["model_type"] = "nemo_transducer"
    if family.name == "streaming transducer":
        arguments["enable_endpoint_detection"] = False
    if family.name == "Qwen3-ASR":
        arguments |= {"max_new_tokens": 256, "max_total_len": 1024}
    if family.beam_search and (options.hotwords or (options.beam_size > 1 and family.name != "NeMo transducer")):
        arguments |= {"decoding_method": "modified_beam_search", "max_active_paths": max(2, options.beam_size)}
    if options.hotwords:
        arguments |= hotword_arguments(model, tokens, options.hotwords, work_dir)
    return {
        "factory": family.factory,
        "arguments": arguments,
        "online": family.online,
        "stream_options": dict(family.stream_options),
    }


def _whisper_times(model: SherpaModel) -> dict[str, bool]:
    """Whisper's times of tokens if the decoder gives its attention, else those of phrases; it cannot give both well."""
    decoder = model.headers["decoder"]
    has_attention = decoder is not None and len(decoder.last_dims) > 3
    return {"enable_segment_timestamps": not has_attention, "enable_token_timestamps": has_attention}


def _provider(device: str) -> str:
    """sherpa-onnx's name of a device: CUDA only with its own build for it."""
    has_cuda = "cuda" in importlib.metadata.version("sherpa-onnx")
    if device.startswith("cuda") and not has_cuda:
        logger.warning(
            "the installed sherpa-onnx has no CUDA; it runs on the CPU (its CUDA wheels: k2-fsa.github.io/sherpa)"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Windows decoded together, longest first so that little is padded; at most _BATCH_SECONDS with the padding."""
    batches: list[list[int]] = []
    for i in sorted((i for i, n in enumerate(lengths) if n), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * lengths[batches[-1][0]] <= _BATCH_SECONDS * SAMPLE_RATE:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _timed_texts(result: Mapping[str, Any], has_times: bool, duration: float) -> list[TimedText]:
    """The tokens with their times; none if there are no times, or not one for each token."""
    tokens, starts = result["tokens"] or [], result["timestamps"] or []
    durations = result["durations"] or []
    if not tokens or len(starts) != len(tokens) or not (has_times or len(durations) == len(tokens)):
        return []
    log_probs = result["log_probs"] or []
    probabilities = [exp(min(0.0, x)) for x in log_probs] if len(log_probs) == len(tokens) else [1.0] * len(tokens)
    starts = np.maximum.accumulate(np.clip(starts, 0.0, duration)).tolist()
    has_ends = len(durations) == len(tokens) and any(durations)
    ends = [min(duration, s + d) for s, d in zip(starts, durations)] if has_ends else [None] * len(tokens)
    return [TimedText(*row) for row in zip(tokens, starts, ends, probabilities)]


def _within(word: TimedWord, duration: float) -> TimedWord:
    return TimedWord(word.text, min(word.start, duration), min(word.end, duration), word.score)


def _clipped(regions: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """The parts of regions between two times; the whole stretch if there is none."""
    clipped = np.clip(regions, begin, max(begin, end))
    clipped = clipped[clipped[:, 1] - clipped[:, 0] > _WHISPER_GAP]
    return clipped if len(clipped) else np.array([[begin, max(begin + _WHISPER_GAP, end)]])


def _has_times(model: SherpaModel) -> bool:
    """Whether tokens come with times; Paraformers only if they were exported with the peaks of their predictor."""
    header = model.headers.get("model")
    if model.family.name == "Paraformer" and header is not None and len(header.last_dims) < _PARAFORMER_OUTPUTS:
        return False
    return model.family.has_times


def _says_about_times(family: str, has_times: bool) -> str:
    if has_times:
        return "words have the times of their tokens"
    if family == "Whisper":
        return "words have the times of phrases, over which they are spread"
    return "it gives no times: words are spread over the speech of windows of 15 s, right to about a second"
