"""The words of what Qwen3-ASR writes: `language Chinese<asr_text>` and a transcript with punctuation."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from lhotse_prep.text.characters import HAN
from lhotse_prep.text.normalize import normalize_transcript

MARK = "<asr_text>"
_LANGUAGE_MARK = re.compile(f"(?:language [A-Za-z]+(?:, ?[A-Za-z]+)*)?{MARK}")
_ONLY_LANGUAGE = re.compile(r"\s*(?:language(?:\s+[A-Za-z]*)?)?\s*")  # the model had no transcript to write
_RUN = re.compile(f"[{HAN}]|[^\\s{HAN}]+")
_UNFINISHED = "\ufffd"  # what a tokenizer writes for a part of a character
_LEAST = math.log(1e-6)  # of a token's log probability


class WrittenText(NamedTuple):
    """Text with the log probability of the token behind each character."""

    text: str
    log_probs: list[float]


class SpokenWord(NamedTuple):
    """A normalised word, how the model wrote it (for the forced aligner), and its probability."""

    text: str
    written: str
    score: float


def written_text(ids: Sequence[int], log_probs: Sequence[float], tokenizer: Any) -> WrittenText:
    """The text of tokens; those that share a character, as bytes of a rare one do, share their mean log probability."""
    text, by_character, begin = "", list[float](), 0
    for end in range(1, len(ids) + 1):
        piece = tokenizer.decode(ids[begin:end], skip_special_tokens=True)
        if piece.endswith(_UNFINISHED) and end < len(ids):
            continue
        text += piece
        by_character += [max(_LEAST, sum(log_probs[begin:end]) / (end - begin))] * len(piece)
        begin = end
    return WrittenText(text, by_character)


def without_language_marks(written: WrittenText) -> WrittenText:
    """The transcript alone: what follows the first mark, without further ones; nothing if there is only a language."""
    text, log_probs = written
    if MARK not in text:
        return WrittenText("", []) if _ONLY_LANGUAGE.fullmatch(text) else written
    kept = list(range(text.index(MARK) + len(MARK), len(text)))
    for match in _LANGUAGE_MARK.finditer(text):
        kept = [i for i in kept if not match.start() <= i < match.end()]
    return WrittenText("".join(text[i] for i in kept), [log_probs[i] for i in kept])


def words_of_text(written: WrittenText) -> list[SpokenWord]:
    """Normalised words, Han characters one by one; a score is the geometric mean of its tokens' probabilities."""
    texts = normalize_transcript(written.text).split()
    words: list[SpokenWord] = []
    for match in _RUN.finditer(written.text):
        run = normalize_transcript(match[0]).split()
        score = _probability(written.log_probs[match.start() : match.end()])
        words += [SpokenWord(text, match[0] if len(run) == 1 else text, score) for text in run]
    if [w.text for w in words] == texts:
        return words
    score = _probability(written.log_probs)  # a formula with spaces in it: its parts are not words alone
    return [SpokenWord(text, text, score) for text in texts]


def _probability(log_probs: Sequence[float]) -> float:
    return min(1.0, math.exp(sum(log_probs) / len(log_probs))) if log_probs else 0.0
