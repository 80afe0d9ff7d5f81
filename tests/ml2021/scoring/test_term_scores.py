"""Recall and precision of terms, against alignments that are worked out by hand."""

from __future__ import annotations

import pytest

from ml2021.scoring.counts import score
from ml2021.scoring.term_scores import term_scores

TERMS = {("gradient", "descent"), ("gradient",), ("bert",), ("類", "神", "經")}


@pytest.mark.parametrize(
    ("ref", "hyp", "expected"),  # in the reference, recognised, in the hypothesis, right
    [
        ("用 bert 和 gradient descent", "用 bert 和 gradient descent", (2, 2, 2, 2)),
        ("用 gradient descent", "用 gradient dissent", (1, 0, 1, 1)),  # the shorter term in the hypothesis is right
        ("用 gradient descent", "用 gradient 的 descent", (1, 0, 1, 1)),  # something between its words
        ("用 gradient 的 descent", "用 gradient descent", (1, 1, 1, 0)),
        ("用 這 個", "用 bert 這 個", (0, 0, 1, 0)),
        ("bert bert", "bert", (2, 1, 1, 1)),
        ("類 神 經 網 路", "類 神 經 網 路", (1, 1, 1, 1)),
        ("", "", (0, 0, 0, 0)),
    ],
)
def test_counts_of_an_utterance(ref: str, hyp: str, expected: tuple[int, ...]) -> None:
    scores = term_scores(score([("a", ref, hyp)]).alignments, TERMS)
    counters = (scores.in_ref, scores.recognised, scores.in_hyp, scores.right)
    assert tuple(counter.total() for counter in counters) == expected


def test_rates_are_over_all_utterances() -> None:
    pairs = [("a", "用 bert", "用 bert"), ("b", "bert", "bird"), ("c", "好", "bert"), ("d", "好", "好")]
    scores = term_scores(score(pairs).alignments, TERMS)
    assert (scores.recall, scores.precision) == (50.0, 50.0)
    assert [(u.num_ref, u.deletions) for u in scores.utterances] == [(1, 0), (1, 1), (0, 0), (0, 0)]
    nothing = term_scores(score([("a", "好", "好")]).alignments, TERMS)
    assert nothing.recall is None and nothing.precision is None
