"""A transcript with capitals and punctuation: its bare words, and how each of them is written."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from lhotse_prep.text.normalize import normalize_transcript
from ml2021.st.cues.phrases import CLAUSE_MARKS, SENTENCE_MARKS

_LONGEST_MARKS = 40  # characters between two words that are taken for punctuation
_ABBREVIATIONS = ("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "fig", "eq", "no", "cf", "al")


Span = tuple[int, int]  # of a text: where something begins and ends


class MarkedText(NamedTuple):
    """W words of a transcript."""

    words: list[str]  # as normalize_transcript has them
    marks: list[str]  # the mark of a sentence or clause after each word, "" for none
    shown: list[str]  # each word as it is written, with the marks around it


def read_marks(text: str) -> MarkedText:
    """Words, marks and spelling of a text; runs of white space count as one space.

    A word that the normalisation changes into other characters (² into ^2) is shown as it is normalised.
    """
    words = normalize_transcript(text).split()
    letters = [(form, i) for i, c in enumerate(text) for form in _forms(c)]
    spans = _with_lone_gaps(_find_words(words, letters), text)
    shown, marks = [], []
    begin, starts = 0, iter([span[0] for span in spans if span is not None][1:])
    for word, span in zip(words, spans):
        if span is None:
            shown.append(word)
            marks.append("")
            continue
        stop = _end_of_word(text, span[1], next(starts, len(text)))
        marks_before = "".join(text[begin : span[0]].split())
        shown.append(marks_before + " ".join(text[span[0] : span[1]].split()) + _joined_marks(text[span[1] : stop]))
        marks.append(_mark(word, text[span[1] : stop]))
        begin = stop
    return MarkedText(words, marks, shown)


def _with_lone_gaps(spans: Sequence[Span | None], text: str) -> list[Span | None]:
    """The spans, where a lone word that was not found between two that were is what is written there."""
    result = list(spans)
    for i, span in enumerate(spans):
        before = spans[i - 1] if i else (0, 0)
        after = spans[i + 1] if i + 1 < len(spans) else (len(text), len(text))
        if span is None and before is not None and after is not None:
            places = [k for k in range(before[1], after[0]) if text[k].isalnum()]
            if places:
                result[i] = (places[0], places[-1] + 1)
    return result


def _forms(char: str) -> str:
    """What a character is compared as: without case and width; nothing for white space and invisible ones."""
    form = unicodedata.normalize("NFKC", char).lower()
    return "".join(c for c in form if not c.isspace() and unicodedata.category(c) != "Cf")


def _find_words(words: Sequence[str], letters: Sequence[tuple[str, int]]) -> list[Span | None]:
    """Where each word is written; None for one that is not written so."""
    spans: list[Span | None] = []
    begin = num_skipped = 0
    for word in words:
        place = _next_place(word, letters, begin, num_skipped)
        if place is None:
            spans.append(None)
            num_skipped += len(word) + 2
            continue
        spans.append((letters[place][1], letters[place + len(word) - 1][1] + 1))
        begin, num_skipped = place + len(word), 0
    return spans


def _next_place(word: str, letters: Sequence[tuple[str, int]], begin: int, num_skipped: int) -> int | None:
    """Where the word's characters come next, with a few marks before them, and num_skipped letters at most."""
    for place in range(begin, min(begin + _LONGEST_MARKS + num_skipped, len(letters) - len(word) + 1)):
        if all(letters[place + k][0] == c for k, c in enumerate(word)):
            return place
        num_skipped -= letters[place][0].isalnum()
        if num_skipped < 0:
            return None
    return None


def _end_of_word(text: str, begin: int, following: int) -> int:
    """Where the marks end that belong to a word that ends at begin: before white space or an opening mark."""
    stop = begin
    while stop < following and not text[stop].isspace() and unicodedata.category(text[stop]) not in ("Ps", "Pi"):
        stop += 1
    while (mark := next((k for k in range(stop, following) if not text[k].isspace()), -1)) >= 0:
        if not _is_closing(text[mark]):
            break
        stop = mark + 1
    return stop


def _is_closing(char: str) -> bool:
    """Whether a mark after a space belongs to the word before, as in `什 麼 ？`."""
    return char != "" and (char in SENTENCE_MARKS or char in CLAUSE_MARKS or unicodedata.category(char) in ("Pe", "Pf"))


def _joined_marks(text: str) -> str:
    """Marks after a word, without the spaces before them; dashes keep theirs."""
    return "".join(f" {piece}" if unicodedata.category(piece[0]) == "Pd" else piece for piece in text.split())


def _mark(word: str, after: str) -> str:
    """The strongest mark after a word."""
    marks = "".join(after.split())
    if marks == "." and word.rstrip(".") in _ABBREVIATIONS:
        return ""
    for kinds in (SENTENCE_MARKS, CLAUSE_MARKS):
        if kept := [c for c in marks if c in kinds]:
            return kept[0]
    return ""
