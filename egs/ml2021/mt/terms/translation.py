"""What every translator takes and gives, and how the sentences of many lectures are given to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

K = TypeVar("K")
_AT_ONCE = 2000  # sentences that a translator gets at least, if there are so many: several of its batches
Sentences = Sequence[Sequence[str]]  # tokens of each sentence: Chinese characters and English words


@dataclass(frozen=True)
class TermUse:
    """A term of the glossary that occurs in a sentence."""

    term: str  # as the glossary writes it
    translation: str  # the glossary's
    is_kept: bool  # whether the sentence's translation has it


@dataclass(frozen=True)
class Translation:
    """The English text of a sentence, and the mean log-probability of its pieces (0 if it has none)."""

    text: str
    score: float
    doubt: str = ""  # why the text may be no translation of the sentence; empty if nothing speaks against it
    terms: tuple[TermUse, ...] = ()  # terms of the glossary in the sentence


class Translator(Protocol):
    """Translates sentences; `contexts` has the sentences before each of them, oldest first."""

    context: int  # how many sentences before each the model reads

    def translate(self, sentences: Sentences, contexts: Sequence[Sentences] | None = None) -> list[Translation]: ...


def previous_sentences(sentences: Sentences, count: int) -> list[Sentences]:
    """For each sentence of a lecture, the `count` sentences before it; fewer at the start of the lecture."""
    return [sentences[max(0, i - count) : i] for i in range(len(sentences))]


def translate_lectures(
    translator: Translator, lectures: Iterable[tuple[K, Sentences]], context: int
) -> Iterator[tuple[K, list[Translation]]]:
    """Translate lectures, the sentences of several in one call, so that the translator's batches are full.

    Args:
      translator: of the sentences.
      lectures: (whatever says which lecture it is, its sentences in order); read as far as is needed.
      context: how many sentences before each, of the same lecture, the translator reads.
    Yields:
      Each lecture's key and translations, in order.
    """
    waiting: list[tuple[K, Sentences]] = []
    num_sentences = 0
    for key, sentences in lectures:
        waiting.append((key, sentences))
        num_sentences += len(sentences)
        if num_sentences >= _AT_ONCE:
            yield from _translated_together(translator, waiting, context)
            waiting, num_sentences = [], 0
    yield from _translated_together(translator, waiting, context)


def _translated_together(
    translator: Translator, lectures: Sequence[tuple[K, Sentences]], context: int
) -> Iterator[tuple[K, list[Translation]]]:
    sentences = [s for _, lecture in lectures for s in lecture]
    contexts = [c for _, lecture in lectures for c in previous_sentences(lecture, context)]
    translations = iter(translator.translate(sentences, contexts) if sentences else ())
    for key, lecture in lectures:
        yield key, [next(translations) for _ in lecture]
