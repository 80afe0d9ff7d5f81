"""Two ways to normalise texts before scoring, each with a signature.

*ours* treats reference and hypothesis alike. *published* is that of the published long-form results on these lectures
(Generative Fusion Decoding, github.com/mtkresearch/generative-fusion-decoding, benchmarks/calculate_mer.py, dataset
ml-lecture-2021-long), with all that is odd about it:

- It deletes punctuation in references but replaces it by spaces in hypotheses, so a correct `self-supervised` counts
  as two errors.
- It collapses endings of hypotheses that repeat (see collapse_ending), with spaces between all characters of a
  hypothesis to which that happens, so that each of its English words becomes letters.
- It converts a hypothesis to Traditional if all of its characters occur in Simplified text.
- It puts spaces around the characters of hypotheses with code points above 1000 (decimal), not of references, where its
  dataset has spaces between Han characters already.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import hanzidentifier

from lhotse_prep.text.characters import is_han
from lhotse_prep.text.chinese_script import converter
from lhotse_prep.text.normalize import normalize_for_scoring

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
_TASK_TAG = "<|transcribe|>"  # Whisper writes it before the text
_LAST_UNSPACED = 1000  # the last code point without spaces around it in hypotheses
_REPEATS = 3  # an ending that occurs this often is collapsed


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
    ours = "script:t2s|case:lower|marks:by-category,in-formulas,between-words|hyphens:one|tokens:han+words"
    published = (
        f"endings:{_REPEATS}x(hyp)|script:s2t(simplified-hyp,hanzidentifier)|case:lower|marks:deleted(ref),spaces(hyp)|"
        f"greek:names|spaced:over-{_LAST_UNSPACED}(hyp),han(ref)|tokens:whisper-english"
    )
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
    """A reference, normalised as for the published results; Han characters get the spaces that their dataset has."""
    text = _MARK.sub("", text.translate(_SPOKEN)).strip().lower()
    return _whisper_english("".join(f" {c} " if is_han(c) else c for c in text))


def published_hypothesis(text: str) -> str:
    """A hypothesis, normalised as for the published results."""
    text = text.strip()
    if _TASK_TAG in text:
        text = text.split(_TASK_TAG)[1]
    text = _collapse_endings(_TAG.sub("", text))
    text = _MARK.sub(" ", text.translate(_SPOKEN)).strip()
    if hanzidentifier.is_simplified(text):
        text = converter("s2t").convert(text)
    spaced = "".join(f" {c} " if ord(c) > _LAST_UNSPACED else c for c in text.lower())
    return _whisper_english(" ".join(spaced.split()))


def collapse_ending(text: str) -> str:
    """Reduce an ending of the text that is repeated three times or more to one, as the published scorer does.

    The shortest such ending counts, and only one that is shorter than a third of the text by at least a character. The
    result has a space between all characters. If the text begins with the first character of the ending, everything
    between that character and the ending is lost. For an ending of a single character, the published scorer stops with
    an IndexError in that case; here, what is before the ending is kept.

    Returns:
      The text itself if no ending is repeated.
    """
    backwards = text[::-1]
    for length in range(1, len(text) // _REPEATS):
        ending = backwards[:length]
        if not backwards.startswith(ending * _REPEATS):
            continue
        rest = backwards
        while rest.startswith(ending):
            rest = rest[length:]
        if length > 1 and rest and rest[-1] == ending[-1]:
            rest = rest[-1]
        return " ".join((ending + rest)[::-1])
    return text


def _collapse_endings(text: str) -> str:
    """Collapse until the length stays the same."""
    while len(shorter := collapse_ending(text)) != len(text):
        text = shorter
    return shorter


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
