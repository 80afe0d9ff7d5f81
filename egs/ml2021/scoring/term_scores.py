"""Recall and precision of terms in aligned utterances.

A term in the reference is recognised if each of its tokens is aligned with the same token, with nothing between them; a
term in the hypothesis is right if that holds for it. Of terms that overlap, the longest counts, from left to right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ml2021.scoring.align import Alignment
from ml2021.scoring.counts import Counts

Term = tuple[str, ...]  # tokens of scoring, see mer_tokens


@dataclass
class TermScores:
    """How often each term occurs in reference and hypothesis, and how often it is right."""

    in_ref: Counter[Term] = field(default_factory=Counter)
    recognised: Counter[Term] = field(default_factory=Counter)
    in_hyp: Counter[Term] = field(default_factory=Counter)
    right: Counter[Term] = field(default_factory=Counter)
    utterances: list[Counts] = field(default_factory=list)  # of each one: terms of the reference, missed as deletions

    @property
    def recall(self) -> float | None:
        """Recognised of 100 in the reference; None without any."""
        return _percent(self.recognised, self.in_ref)

    @property
    def precision(self) -> float | None:
        """Right of 100 in the hypothesis; None without any."""
        return _percent(self.right, self.in_hyp)


def term_scores(alignments: Mapping[str, Alignment], terms: Collection[Term]) -> TermScores:
    """Look for terms in the alignments of utterances, see scoring.counts.score."""
    result, known = TermScores(), set(terms)
    longest = max(map(len, known), default=0)
    for alignment in alignments.values():
        of_ref = list(_occurrences(alignment, 0, known, longest))
        of_hyp = list(_occurrences(alignment, 1, known, longest))
        result.in_ref.update(term for term, _ in of_ref)
        result.recognised.update(term for term, is_right in of_ref if is_right)
        result.in_hyp.update(term for term, _ in of_hyp)
        result.right.update(term for term, is_right in of_hyp if is_right)
        missed = sum(not is_right for _, is_right in of_ref)
        result.utterances.append(Counts(num_ref=len(of_ref), deletions=missed))
    return result


def _occurrences(
    alignment: Sequence[tuple[str, str]], side: int, terms: Collection[Term], longest: int
) -> Iterator[tuple[Term, bool]]:
    """The terms in the reference (side 0) or hypothesis (1) of an utterance, and whether each is right."""
    places = [i for i, pair in enumerate(alignment) if pair[side]]
    tokens = [alignment[i][side] for i in places]
    begin = 0
    while begin < len(tokens):
        lengths = range(min(longest, len(tokens) - begin), 0, -1)
        length = next((n for n in lengths if tuple(tokens[begin : begin + n]) in terms), 0)
        if length:
            pairs = alignment[places[begin] : places[begin + length - 1] + 1]
            yield tuple(tokens[begin : begin + length]), all(ref == hyp for ref, hyp in pairs)
        begin += length or 1


def _percent(part: Counter[Term], whole: Counter[Term]) -> float | None:
    return round(100 * part.total() / whole.total(), 3) if whole else None
