"""Error counts of code-switched text, and the mixed error rate (MER).

In scoring, a token is a Chinese character or an English word (not a unit of tokens.txt). MER = (insertions + deletions
+ substitutions) / reference tokens, by a minimum edit alignment. Its zh part counts errors at Chinese reference tokens
and Chinese insertions, relative to the Chinese reference tokens; the en part likewise. A reference token is at a switch
if a neighbour in its utterance is in the other language, and so is an insertion between two reference
tokens of different languages.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby

from lhotse_prep.text.characters import is_han
from lhotse_prep.workflow.errors import DataError
from ml2021.scoring.align import EPSILON, Alignment, align
from ml2021.scoring.lecture_ids import lecture_of, natural_order


@dataclass(slots=True)
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

    def add(self, ref: str, hyp: str, times: int = 1) -> None:
        """Count a pair of an alignment that occurs some times."""
        if ref != EPSILON:
            self.num_ref += times
        if ref == EPSILON:
            self.insertions += times
        elif hyp == EPSILON:
            self.deletions += times
        elif ref != hyp:
            self.substitutions += times

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
    units: Counts | None = None  # of units of pronunciation; None: the recogniser has no head on them

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
    known: dict[tuple[str, str], tuple[str, str]] = {}  # each pair of tokens is kept once, however often it occurs
    for utterance_id, ref, hyp in pairs:
        if utterance_id in alignments:
            raise DataError(f"utterance {utterance_id} occurs twice; ids must be unique")
        alignment = align(mer_tokens(ref), mer_tokens(hyp))
        alignments[utterance_id] = [known.setdefault(pair, pair) for pair in alignment]
    return count_errors(alignments)


def require_unique(utterance_ids: Iterable[str]) -> None:
    """Raise DataError if an id occurs twice."""
    seen: set[str] = set()
    for utterance_id in utterance_ids:
        if utterance_id in seen:
            raise DataError(f"utterance {utterance_id} occurs twice; ids must be unique")
        seen.add(utterance_id)


def count_errors(alignments: Mapping[str, Alignment]) -> ErrorRate:
    """Count the errors of aligned utterances."""
    result = ErrorRate(alignments=dict(alignments))
    pairs: Counter[tuple[tuple[str, str], bool]] = Counter()
    for alignment in alignments.values():
        pairs.update(zip(alignment, at_switches(alignment)))
    for (pair, at_switch), times in pairs.items():
        counts = [result.total, result.zh if _is_chinese(pair[0] or pair[1]) else result.en]
        for c in [*counts, result.switches] if at_switch else counts:
            c.add(*pair, times)
    return result


def by_utterance(result: ErrorRate) -> Iterator[ErrorRate]:
    """The counts of each utterance, one after the other."""
    return (count_errors({i: alignment}) for i, alignment in result.alignments.items())


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
    languages = [_is_chinese(ref) for ref, _ in alignment if ref]
    changes = [False, *map(operator.ne, languages, languages[1:]), False]  # before each reference token, and at the end
    flags, i = [], 0  # i: number of reference tokens before the pair
    for ref, _ in alignment:
        if ref:
            flags.append(changes[i] or changes[i + 1])
            i += 1
        else:
            flags.append(changes[i])
    return flags


@lru_cache(maxsize=1 << 17)
def _is_chinese(token: str) -> bool:
    return is_han(token[0])
