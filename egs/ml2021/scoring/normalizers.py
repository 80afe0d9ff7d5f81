"""What scoring does to texts before it compares them: two ways, each with a signature that tells them apart.

*ours* treats both sides alike. *published* is the scorer of the long-form results on these lectures (Generative Fusion
Decoding, github.com/mtkresearch/generative-fusion-decoding, benchmarks/calculate_mer.py), which does not: it deletes
the marks of the reference and puts spaces in their place in the hypothesis, so that `self-supervised` costs two errors
even where it is right. Its removal of repeated endings of a hypothesis is left out.
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
    """Texts as they are compared; `signature` names all that the figures depend on."""

    name: str
    signature: str
    reference: Callable[[str], str]
    hypothesis: Callable[[str], str]


def normalizers() -> tuple[Normalizer, Normalizer]:
    """Ours, and that of the published results."""
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
    """Normalised for scoring, then Traditional characters as Simplified ones, one by one."""
    return " ".join(_simplified(token) for token in normalize_for_scoring(text).split())


def published_reference(text: str) -> str:
    """A reference as the published results have it."""
    return _whisper_english(_spaced(_MARK.sub("", text.translate(_SPOKEN)).lower()))


def published_hypothesis(text: str) -> str:
    """A hypothesis as the published results have it; one that is all Simplified becomes Traditional."""
    text = _MARK.sub(" ", _TAG.sub("", text).translate(_SPOKEN)).strip()
    if converter("t2s").convert(text) == text:
        text = converter("s2t").convert(text)
    return _whisper_english(_spaced(text.lower()))


def _spaced(text: str) -> str:
    return "".join(f" {c} " if is_han(c) else c for c in text)


def _simplified(token: str) -> str:
    """Character by character: words of several characters would change with what stands beside them."""
    return "".join(_simplified_character(c) if is_han(c) else c for c in token)


@cache
def _simplified_character(character: str) -> str:
    return converter("t2s").convert(character)


def _whisper_english(text: str) -> str:
    return _english_normalizer()(text)


@cache
def _english_normalizer() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()
