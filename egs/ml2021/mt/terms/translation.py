"""What every translator takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
