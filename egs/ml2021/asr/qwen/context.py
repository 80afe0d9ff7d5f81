"""The context that Qwen3-ASR is given before a recording: a language, and terms that may occur."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lhotse_prep.workflow.errors import ConfigError
from ml2021.asr.words.hotwords import Term, read_terms

MAX_TOKENS = 10_000  # of a context, as Qwen's authors say
_MARKS = re.compile(r"<\|[^<>|]*\|>|<(?:asr_text|timestamp)>")  # the tokenizer would take them for its own
_LEAST_ECHO = 3  # terms in a row that are no sentence


def language_name(language: str) -> str:
    """The model's name of a language, such as Chinese for zh, zh-TW or chinese; "" leaves the choice to the model.

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
    raise ConfigError(f"Qwen3-ASR does not know language {language!r}, only {', '.join(LANGUAGE_CODE_TO_NAME)}")


def context_terms(path: Path) -> list[Term]:
    """The terms of a file of hotwords, without marks of the model in them.

    Raises:
      DataError: see read_terms.
    """
    terms = [t._replace(written=" ".join(_MARKS.sub(" ", t.written).split())) for t in read_terms(path)]
    return [t for t in terms if t.written]


def is_echo(words: Sequence[str], terms: Sequence[str]) -> bool:
    """Whether words only repeat terms of the context in its order, as the model does in silence and noise.

    Args:
      words: normalised.
      terms: normalised.
    """
    by_term = [term.split() for term in terms]
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
