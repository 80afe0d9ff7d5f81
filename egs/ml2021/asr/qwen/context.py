"""The context that Qwen3-ASR is given before a recording: a language, and terms that may occur."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.text.normalize import normalize_transcript
from lhotse_prep.workflow.errors import ConfigError, DataError
from lhotse_prep.workflow.files import read_text

MAX_TOKENS = 10_000  # of a context, as Qwen's authors say
_SCORE = re.compile(r"\s+:\S+\s*$")  # of a term in a hotwords file of this project; Qwen3-ASR has no use for it
_MARKS = re.compile(r"<\|[^<>|]*\|>|<(?:asr_text|timestamp)>")  # the tokenizer would take them for its own
_LEAST_ECHO = 3  # terms in a row that are no sentence


def language_name(language: str) -> str:
    """The name that the model knows a language by, such as Chinese of zh, zh-TW or chinese; "" for its own choice.

    Raises:
      ConfigError: the model does not know the language.
    """
    if language.lower() in ("", "auto"):
        return ""
    from transformers.models.qwen3_asr.processing_qwen3_asr import LANGUAGE_CODE_TO_NAME

    names: dict[str, str] = dict(LANGUAGE_CODE_TO_NAME)
    names |= {name.lower(): name for name in names.values()}
    for key in (language.lower(), re.split("[-_]", language.lower())[0]):
        if key in names:
            return names[key]
    raise ConfigError(f"language {language!r} is none of Qwen3-ASR: {', '.join(LANGUAGE_CODE_TO_NAME)}, or none")


def read_terms(path: Path) -> list[str]:
    """The terms of a hotwords file, one per line, as they are written, without scores.

    Raises:
      DataError: the file is missing or is not text.
    """
    content = read_text(path)
    if content is None:
        raise DataError(f"no hotwords file {path}: name a file with one term per line")
    lines = (_MARKS.sub(" ", _SCORE.sub("", line)) for line in content.splitlines())
    return [term for line in lines if (term := " ".join(line.split()))]


def is_echo(words: Sequence[str], terms: Sequence[str]) -> bool:
    """Whether words only repeat terms of the context in its order, as the model does in silence and noise.

    Args:
      words: normalised.
      terms: as read_terms gives them.
    """
    by_term = [normalize_transcript(term).split() for term in terms]
    if len(terms) < _LEAST_ECHO or not words:
        return False
    for first in range(len(by_term)):
        i, num_terms = 0, 0
        while i < len(words):
            term = by_term[(first + num_terms) % len(by_term)]
            part = list(words[i : i + len(term)])
            if not term or part != term[: len(part)]:
                break
            i += len(part)
            num_terms += len(part) == len(term)
            if len(part) < len(term):
                break
        if i == len(words) and num_terms >= _LEAST_ECHO:
            return True
    return False
