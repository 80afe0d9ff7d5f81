"""Error counts of code-switched text, and the mixed error rate (MER).

In scoring, a token is a Chinese character or an English word (not a unit of tokens.txt). MER = (insertions + deletions
+ substitutions) / reference tokens, by a minimum edit alignment. Its zh part counts errors at Chinese reference tokens
and Chinese insertions, relative to the Chinese reference tokens; the en part likewise. A reference token is at a switch
if a neighbour in its utterance is in the other language, and so is an insertion between two reference
tokens of different languages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import kaldialign

from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.lecture_ids import lecture_of, natural_order

EPSILON = ""  # the empty side of an insertion or deletion in an alignment

Alignment = list[tuple[str, str]]  # (reference token, hypothesis token); one of them may be EPSILON


@dataclass
class Counts:
    """Numbers of reference tokens and of errors by kind."""

    num_ref: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        """The number of all errors."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def percent(self) -> float | None:
        """Errors as a percentage of reference tokens; None without reference tokens."""
        return round(100 * self.errors / self.num_ref, 3) if self.num_ref else None

    def add(self, ref: str, hyp: str) -> None:
        """Count one pair of an alignment."""
        self.num_ref += ref != EPSILON
        self.insertions += ref == EPSILON
        self.deletions += hyp == EPSILON
        self.substitutions += EPSILON not in (ref, hyp) and ref != hyp

    def __str__(self) -> str:
        rate = "no reference tokens" if self.percent is None else f"{self.percent:.2f}%"
        return (
            f"{rate} ({self.errors} / {self.num_ref}: {self.insertions} ins, "
            f"{self.deletions} del, {self.substitutions} sub)"
        )


@dataclass
class ErrorRate:
    """Counts over a set of utterances, and their alignments."""

    total: Counts = field(default_factory=Counts)
    zh: Counts = field(default_factory=Counts)
    en: Counts = field(default_factory=Counts)
    switches: Counts = field(default_factory=Counts)  # at changes of language
    alignments: dict[str, Alignment] = field(default_factory=dict)  # by utterance id

    def percents(self) -> dict[str, float | None]:
        """The rates {"mer", "zh", "en"} in percent; None if the reference has no token of that kind."""
        return {"mer": self.total.percent, "zh": self.zh.percent, "en": self.en.percent}


def mer_tokens(text: str) -> list[str]:
    """The lower-case tokens of a text: single Han characters, and whatever is between spaces and Han characters."""
    tokens: list[str] = []
    for word in text.lower().split():
        for han, group in groupby(word, key=is_han):
            characters = list(group)
            tokens += characters if han else ["".join(characters)]
    return tokens


def score(pairs: Iterable[tuple[str, str, str]]) -> ErrorRate:
    """Score hypotheses against references.

    Args:
      pairs: (utterance id, reference text, hypothesis text); either text may be empty.
    Raises:
      DataError: an id occurs twice.
    """
    alignments: dict[str, Alignment] = {}
    for utterance_id, ref, hyp in pairs:
        if utterance_id in alignments:
            raise DataError(f"utterance {utterance_id} occurs twice; ids must be unique")
        alignments[utterance_id] = kaldialign.align(mer_tokens(ref), mer_tokens(hyp), EPSILON)
    return count_errors(alignments)


def count_errors(alignments: Mapping[str, Alignment]) -> ErrorRate:
    """Count the errors of aligned utterances."""
    result = ErrorRate(alignments=dict(alignments))
    for alignment in alignments.values():
        for pair, at_switch in zip(alignment, at_switches(alignment)):
            counts = [result.total, result.zh if is_han((pair[0] or pair[1])[0]) else result.en]
            for c in [*counts, result.switches] if at_switch else counts:
                c.add(*pair)
    return result


def by_utterance(result: ErrorRate) -> list[ErrorRate]:
    """The counts of each utterance."""
    return [count_errors({i: alignment}) for i, alignment in result.alignments.items()]


def by_lecture(result: ErrorRate, lectures: Mapping[str, str] | None = None) -> dict[str, ErrorRate]:
    """The counts of each lecture.

    Args:
      result: of utterances.
      lectures: {utterance id: lecture id}; without it, a lecture's id is an utterance id (`week10_1-0003`) without its
        number.
    """
    groups: dict[str, dict[str, Alignment]] = {}
    for utterance_id, alignment in result.alignments.items():
        lecture = lecture_of(utterance_id) if lectures is None else lectures[utterance_id]
        groups.setdefault(lecture, {})[utterance_id] = alignment
    return {lecture: count_errors(groups[lecture]) for lecture in sorted(groups, key=natural_order)}


def at_switches(alignment: Alignment) -> list[bool]:
    """For each pair, whether it is at a change of language in the reference."""
    languages = [is_han(ref[0]) for ref, _ in alignment if ref]
    flags, i = [], 0  # i: number of reference tokens before the pair
    for ref, _ in alignment:
        here = languages[max(0, i - 1) : i + (2 if ref else 1)]
        flags.append(len(set(here)) == 2)
        i += ref != EPSILON
    return flags
