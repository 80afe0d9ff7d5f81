"""Two ways to normalise texts before scoring, each with a signature.

*ours* treats reference and hypothesis alike. *published* follows the scorer of the published long-form results on these
lectures (Generative Fusion Decoding, github.com/mtkresearch/generative-fusion-decoding, benchmarks/calculate_mer.py).
That scorer deletes punctuation in references but replaces it by spaces in hypotheses, so a correct `self-supervised`
counts as two errors. It also removes repeated endings of hypotheses, which is not implemented here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from lhotse_prep.text.chinese_script import converter
from lhotse_prep.text.normalize import is_han, normalize_for_scoring

_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
    "psi omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", _GREEK_NAMES.split(), strict=True))
_SPOKEN = str.maketrans(
    {letter: f" {name} " for letter, name in _GREEK.items()}
    | {letter.upper(): f" {name} " for letter, name in _GREEK.items()}
    | {"*": " star ", "′": " prime ", "%": " percent "}
)
_MARK = re.compile(r"[^\w\s]")
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Normalizer:
    """How references and hypotheses are normalised; `signature` names everything that the scores depend on."""

    name: str
    signature: str
    reference: Callable[[str], str]
    hypothesis: Callable[[str], str]


def normalizers() -> tuple[Normalizer, Normalizer]:
    """Our normaliser and that of the published results."""
    opencc, whisper = version("opencc"), version("whisper-normalizer")
    ours = "script:t2s|case:lower|marks:edges,between-words|hyphens:one|tokens:han+words"
    published = "script:s2t(hyp)|case:lower|marks:deleted(ref),spaces(hyp)|greek:names|tokens:whisper-english"
    return (
        Normalizer("ours", f"norm:ours|{ours}|opencc:{opencc}", unify_script, unify_script),
        Normalizer(
            "published",
            f"norm:gfd|{published}|opencc:{opencc}|whisper-normalizer:{whisper}",
            published_reference,
            published_hypothesis,
        ),
    )


def unify_script(text: str) -> str:
    """Normalise for scoring, then replace Traditional characters by Simplified ones, one by one."""
    return " ".join(_simplified(token) for token in normalize_for_scoring(text).split())


def published_reference(text: str) -> str:
    """A reference, normalised as for the published results."""
    return _whisper_english(_spaced(_MARK.sub("", text.translate(_SPOKEN)).lower()))


def published_hypothesis(text: str) -> str:
    """A hypothesis, normalised as for the published results; an all-Simplified one is converted to Traditional."""
    text = _MARK.sub(" ", _TAG.sub("", text).translate(_SPOKEN)).strip()
    if converter("t2s").convert(text) == text:
        text = converter("s2t").convert(text)
    return _whisper_english(_spaced(text.lower()))


def _spaced(text: str) -> str:
    return "".join(f" {c} " if is_han(c) else c for c in text)


def _simplified(token: str) -> str:
    """Converted character by character: OpenCC's phrases would make the result depend on the context."""
    return "".join(_simplified_character(c) if is_han(c) else c for c in token)


@cache
def _simplified_character(character: str) -> str:
    return str(converter("t2s").convert(character))


def _whisper_english(text: str) -> str:
    return _english_normalizer()(text)


@cache
def _english_normalizer() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer
